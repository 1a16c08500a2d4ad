-- Every metric of every item, from the loglikelihoods ll_j of its choices (nats), their characters, bytes and tokens.
-- Lists count from 1, choices from 0. In argmax the first of equals wins, as in NumPy. Zero tokens mean that the count is
-- unknown.
--
-- Items of one choice have no choice-normalised value. There `correct` says whether the model would have written the
-- continuation itself (is_greedy), and a rolling text has no `correct` at all. Where several choices are correct, any of them
-- counts, their probabilities add up, and the loglikelihood per unit is the first one's.

-- What concerns an item alone, worked out once per item and not once per item and model. A NULL here makes the metrics NULL
-- that the item does not have: `position` is the correct choice's where there is a choice, `zero` is 0 where there are several.
CREATE OR REPLACE VIEW item_facts AS
SELECT
    i.task_key,
    i.item_idx,
    i.item_group,
    t.output_type,
    i.gold + 1 AS gold_position,
    CASE WHEN t.output_type = 'multiple_choice' THEN i.gold + 1 END AS position,
    CASE WHEN t.output_type = 'multiple_choice' AND len(i.n_chars) > 1 THEN 0.0 END AS zero,
    len(i.golds) > 1 AS has_golds,
    i.golds,
    greatest(len(i.golds), 1) AS n_golds,
    len(i.n_chars) AS n_choices,
    i.n_chars,
    i.n_bytes,
    i.n_chars = i.n_bytes AS same_lengths,
    i.n_chars[i.gold + 1]::DOUBLE AS chars_gold,
    i.n_bytes[i.gold + 1]::DOUBLE AS bytes_gold
FROM item_records AS i
JOIN task_records AS t USING (task_key);

-- Steps that several metrics share, relative to the correct choice, whose own term is then exp(0) = 1: the softmax of the
-- correct choice is 1 / sum_j exp(ll_j - ll_gold), and cannot be 0 / 0. The difference of two unequal numbers is never zero,
-- so the largest of `per_char` is at the largest ll_j / n_char_j. A sum may be infinite where a choice is far better than the
-- correct one: `item_values` then takes logarithms another way.
CREATE OR REPLACE VIEW item_steps AS
SELECT
    *,
    list_max(loglikelihoods) AS best,
    list_position(loglikelihoods, list_max(loglikelihoods)) AS best_position,
    list_position(per_char, list_max(per_char)) AS best_per_char_position,
    list_sum(list_transform(per_char, lambda x: exp(x))) AS per_char_sum,
    list_sum(odds) AS softmax_sum,
    list_dot_product(odds, odds) AS softmax_squares
FROM (
    SELECT
        *,
        list_transform(loglikelihoods, lambda x, j: x / n_chars[j] - per_char_gold) AS per_char,
        list_transform(loglikelihoods, lambda x: exp(x - ll_gold)) AS odds
    FROM (
        SELECT
            r.run_key,
            i.*,
            s.loglikelihoods,
            s.is_greedy[1] AS is_greedy,
            s.loglikelihoods[i.gold_position] AS ll_gold,
            s.loglikelihoods[i.gold_position] / i.chars_gold AS per_char_gold,
            nullif(s.n_tokens[i.gold_position], 0) AS tokens_gold
        FROM item_results AS s
        JOIN run_records AS r USING (run_key)
        JOIN item_facts AS i ON i.task_key = r.task_key AND i.item_idx = s.item_idx
    )
);

CREATE OR REPLACE MACRO log_sum_exp(xs) AS
    list_max(xs) + ln(list_sum(list_transform(xs, lambda x: exp(x - list_max(xs)))));

-- From the softmax before its division, for the rare cases.
CREATE OR REPLACE MACRO brier_of(weights, golds) AS (
    power(list_sum(weights) - list_sum(list_transform(golds, lambda g: weights[g + 1])), 2)
    + list_sum(list_transform(weights, lambda w, j: CASE WHEN list_contains(golds, j::INTEGER - 1) THEN 0.0 ELSE w * w END))
) / power(list_sum(weights), 2);

-- A CASE computes anew what its branches need, even what another column has computed already. So the steps above stand outside
-- of it here, and the rare cases (several correct choices, lengths that differ in bytes) are added as terms: half the time.
-- `least` and `greatest` pass over NULL, and `least` over NaN.
CREATE OR REPLACE VIEW item_values AS
SELECT
    run_key,
    task_key,
    item_idx,
    item_group,
    output_type,
    n_choices,
    n_golds,
    -ll_gold AS nll_gold,
    chars_gold,
    bytes_gold,
    tokens_gold,
    -per_char_gold AS nll_per_char,
    -ll_gold / bytes_gold AS nll_per_byte,
    -ll_gold / tokens_gold AS nll_per_token,
    -- -log softmax_j(ll_j / n_char_j)[gold]
    zero + CASE WHEN isinf(per_char_sum) THEN log_sum_exp(per_char) ELSE ln(per_char_sum) END - CASE
        WHEN has_golds THEN log_sum_exp(list_transform(golds, lambda g: per_char[g + 1]))
        ELSE 0.0
    END AS nll_choice_norm,
    -- softmax_j(ll_j)[gold]
    zero + CASE
        WHEN has_golds THEN
            list_sum(list_transform(golds, lambda g: exp(loglikelihoods[g + 1] - best)))
            / list_sum(list_transform(loglikelihoods, lambda x: exp(x - best)))
        ELSE 1.0 / softmax_sum
    END AS p_gold,
    -- sum over choices of (softmax_j(ll_j) - 1 where j is correct)^2, from 0 to 2; several correct choices count as one.
    zero + least(
        ((softmax_sum - 1.0) * (softmax_sum - 1.0) + softmax_squares - 1.0) / softmax_sum / softmax_sum
            + CASE WHEN NOT has_golds THEN 0.0 END,
        CASE
            WHEN has_golds THEN brier_of(list_transform(loglikelihoods, lambda x: exp(x - best)), golds)
            WHEN softmax_squares > 1e300 THEN
                brier_of(list_transform(loglikelihoods, lambda x: exp(x - best)), [gold_position - 1])
        END
    ) AS brier,
    -- ll_gold - max of the others, nats
    zero + CASE
        WHEN has_golds THEN
            list_max(list_transform(golds, lambda g: loglikelihoods[g + 1]))
            - list_max(list_filter(loglikelihoods, lambda x, j: NOT list_contains(golds, j::INTEGER - 1)))
        WHEN ll_gold < best THEN ll_gold - best
        ELSE ll_gold - list_max(list_filter(loglikelihoods, lambda x, j: j <> gold_position))
    END AS margin,
    greatest(
        best_position = position,
        CASE WHEN has_golds THEN list_contains(golds, best_position::INTEGER - 1) END,
        CASE WHEN output_type = 'loglikelihood' THEN is_greedy END
    ) AS correct,
    greatest(
        best_per_char_position = position,
        CASE WHEN has_golds THEN list_contains(golds, best_per_char_position::INTEGER - 1) END
    ) AS correct_norm,
    greatest(
        best_per_char_position = CASE WHEN same_lengths THEN position ELSE 0 * position END,
        CASE WHEN same_lengths AND has_golds THEN list_contains(golds, best_per_char_position::INTEGER - 1) END,
        CASE WHEN NOT same_lengths THEN list_position(per_byte, list_max(per_byte)) = position END,
        CASE WHEN NOT same_lengths AND has_golds THEN
            list_contains(golds, list_position(per_byte, list_max(per_byte))::INTEGER - 1)
        END
    ) AS correct_bytes
FROM (
    SELECT *, CASE WHEN NOT same_lengths THEN list_transform(loglikelihoods, lambda x, j: x / n_bytes[j]) END AS per_byte
    FROM item_steps
);

-- What the answers that a model wrote to an item come to. One answer by the most probable tokens is a greedy one; several, or one
-- at a temperature above 0, were drawn.
CREATE OR REPLACE VIEW item_answers AS
SELECT
    run_key,
    item_idx,
    CASE WHEN drawn THEN num_samples END AS num_samples,
    CASE WHEN NOT drawn THEN share END AS exact_match,
    CASE WHEN drawn THEN share END AS pass_rate
FROM (
    SELECT
        g.run_key,
        g.item_idx,
        count(*) AS num_samples,
        avg(g.correct::INTEGER) AS share,
        count(*) > 1 OR coalesce(any_value(r.temperature), 0.0) > 0.0 AS drawn
    FROM generation_records AS g
    JOIN (
        SELECT
            run_key,
            TRY_CAST(json_extract_string(json_extract_string(metadata, '$.answers'), '$.temperature') AS DOUBLE) AS temperature
        FROM run_records
    ) AS r USING (run_key)
    GROUP BY g.run_key, g.item_idx
);

CREATE OR REPLACE VIEW item_metrics AS
SELECT
    r.run_id,
    v.item_idx,
    v.item_group,
    v.nll_gold,
    v.nll_per_char,
    v.nll_per_byte,
    v.nll_per_token,
    v.nll_choice_norm,
    v.p_gold,
    v.brier,
    v.margin,
    v.correct,
    v.correct_norm,
    v.correct_bytes,
    a.exact_match = 1.0 AS exact_match,
    a.pass_rate,
    -- The pass rate at temperature 1, known without drawing: of one right answer among perhaps many.
    CASE WHEN v.output_type IN ('generate_until', 'loglikelihood') THEN exp(-v.nll_gold) END AS p_exact,
    a.num_samples
FROM item_values AS v
JOIN run_records AS r USING (run_key)
LEFT JOIN item_answers AS a USING (run_key, item_idx);

-- pass@k of every item with k answers or more: the probability that one of k answers is right, 1 - C(n - c, k) / C(n, k) with c of
-- n right, unbiased (Chen 2021, arXiv 2107.03374, eq. 1), as the product of 1 - k / i over the wrong answers beyond which none is
-- left. `SELECT avg(pass_at_k) FROM pass_at_k(run, 10)` is the task's, its standard error that of a mean over items.
CREATE OR REPLACE MACRO pass_at_k(run, k) AS TABLE
    SELECT
        g.item_idx,
        count(g.correct) AS num_samples,
        sum(g.correct::INTEGER) AS num_right,
        CASE WHEN count(g.correct) - sum(g.correct::INTEGER) < k THEN 1.0
            -- Without a right answer the product has no factor.
            ELSE 1.0 - coalesce(
                list_product(
                    list_transform(
                        range((count(g.correct) - sum(g.correct::INTEGER) + 1)::BIGINT, (count(g.correct) + 1)::BIGINT),
                        lambda i: 1.0 - k / i
                    )
                ),
                1.0
            )
        END AS pass_at_k
    FROM generations AS g
    WHERE g.run_id = run
    GROUP BY g.item_idx
    HAVING count(g.correct) >= k;
