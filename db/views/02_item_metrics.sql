-- Every metric of every item, from the loglikelihoods ll_j of its choices (nats), their characters, bytes and tokens.
-- Lists count from 1, choices from 0. A task of one choice has no choice-normalised value; there `correct` says whether the
-- model would have written the continuation itself (is_greedy), and a rolling text has no `correct` at all.
-- In argmax the first of equals wins, as in NumPy.

CREATE OR REPLACE VIEW item_values AS
SELECT
    run_key,
    task_key,
    item_idx,
    item_group,
    n_choices,
    n_golds,
    -ll_gold AS nll_gold,
    chars_gold,
    bytes_gold,
    tokens_gold,
    -ll_gold / chars_gold AS nll_per_char,
    -ll_gold / bytes_gold AS nll_per_byte,
    -ll_gold / nullif(tokens_gold, 0) AS nll_per_token,
    CASE WHEN is_choice THEN
        ln(list_sum(list_transform(per_char, lambda x: exp(x - best_per_char))))
        - ln(list_sum(list_transform(golds, lambda g: exp(per_char[g + 1] - best_per_char))))
    END AS nll_choice_norm,
    CASE WHEN is_choice THEN
        list_sum(list_transform(golds, lambda g: exp(loglikelihoods[g + 1] - best)))
        / list_sum(list_transform(loglikelihoods, lambda x: exp(x - best)))
    END AS p_gold,
    CASE WHEN is_choice THEN
        list_max(list_transform(golds, lambda g: loglikelihoods[g + 1]))
        - list_max(list_filter(loglikelihoods, lambda x, j: NOT list_contains(golds, j::INTEGER - 1)))
    END AS margin,
    CASE
        WHEN output_type = 'multiple_choice' THEN list_contains(golds, list_position(loglikelihoods, best)::INTEGER - 1)
        WHEN output_type = 'loglikelihood' THEN is_greedy[1]
    END AS correct,
    CASE WHEN output_type = 'multiple_choice' THEN
        list_contains(golds, list_position(per_char, best_per_char)::INTEGER - 1)
    END AS correct_norm,
    CASE WHEN output_type = 'multiple_choice' THEN
        list_contains(golds, list_position(per_byte, list_max(per_byte))::INTEGER - 1)
    END AS correct_bytes
FROM (
    SELECT *, list_max(loglikelihoods) AS best, list_max(per_char) AS best_per_char
    FROM (
        SELECT
            r.run_key,
            r.task_key,
            s.item_idx,
            i.item_group,
            t.output_type,
            s.loglikelihoods,
            s.is_greedy,
            len(s.loglikelihoods) AS n_choices,
            t.output_type = 'multiple_choice' AND len(s.loglikelihoods) > 1 AS is_choice,
            CASE WHEN len(i.golds) > 0 THEN i.golds ELSE [i.gold] END AS golds,
            greatest(len(i.golds), 1) AS n_golds,
            s.loglikelihoods[i.gold + 1] AS ll_gold,
            i.n_chars[i.gold + 1] AS chars_gold,
            i.n_bytes[i.gold + 1] AS bytes_gold,
            s.n_tokens[i.gold + 1] AS tokens_gold,
            list_transform(s.loglikelihoods, lambda x, j: x / i.n_chars[j]) AS per_char,
            list_transform(s.loglikelihoods, lambda x, j: x / i.n_bytes[j]) AS per_byte
        FROM item_results AS s
        JOIN run_records AS r USING (run_key)
        JOIN task_records AS t USING (task_key)
        JOIN item_records AS i ON i.task_key = r.task_key AND i.item_idx = s.item_idx
    )
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
    v.margin,
    v.correct,
    v.correct_norm,
    v.correct_bytes
FROM item_values AS v
JOIN run_records AS r USING (run_key);
