-- Per run: means over the items that have the metric (not every item has several choices) with their standard errors, sample
-- standard deviation / sqrt(n) as in lm-eval. For rolling text the means are per unit of text, sum(nll) / sum(units), as
-- perplexity needs; their standard error is the ratio estimator's, sqrt(sum((y - R x)^2) / (n (n - 1))) / mean(x).

-- A sum that is the same to the last bit in whatever order rows arrive and threads add: in units of 2^-60, as whole numbers.
-- Exact for every double of at least 2^-8, and off by less than 2^-61 below; it holds up to 10^20.
CREATE OR REPLACE MACRO exact_sum(x) AS sum((x * 1152921504606846976.0)::HUGEINT)::DOUBLE / 1152921504606846976.0;
CREATE OR REPLACE MACRO mean_of(total, n) AS total / nullif(n, 0);
-- Rounding can leave a variance of zero slightly below zero. (`greatest` would turn NULL into zero.)
CREATE OR REPLACE MACRO not_below_zero(x) AS CASE WHEN x < 0.0 THEN 0.0 ELSE x END;
CREATE OR REPLACE MACRO sem_of(total, squares, n) AS
    CASE WHEN n > 1 THEN sqrt(not_below_zero(squares - total * total / n) / (n - 1) / n) END;
CREATE OR REPLACE MACRO ratio_sem_of(yy, xy, xx, y, x, n) AS
    CASE WHEN n > 1 THEN
        sqrt(not_below_zero(yy - 2 * (y / x) * xy + (y / x) * (y / x) * xx) / (n * (n - 1.0))) / (x / n)
    END;

CREATE OR REPLACE VIEW run_sums AS
SELECT
    run_key,
    count(*) AS n_items,
    count(nll_gold) AS n_gold, count(nll_per_token) AS n_token, count(nll_choice_norm) AS n_norm, count(margin) AS n_margin,
    exact_sum(n_golds / nullif(n_choices, 0)) AS chances,
    exact_sum(nll_gold) AS nll, exact_sum(nll_gold * nll_gold) AS nll_sq,
    exact_sum(nll_per_char) AS char, exact_sum(nll_per_char * nll_per_char) AS char_sq,
    exact_sum(nll_per_byte) AS byte, exact_sum(nll_per_byte * nll_per_byte) AS byte_sq,
    exact_sum(nll_per_token) AS token, exact_sum(nll_per_token * nll_per_token) AS token_sq,
    exact_sum(nll_choice_norm) AS norm, exact_sum(nll_choice_norm * nll_choice_norm) AS norm_sq,
    exact_sum(p_gold) AS p, exact_sum(p_gold * p_gold) AS p_sq,
    exact_sum(brier) AS brier, exact_sum(brier * brier) AS brier_sq,
    exact_sum(margin) AS margin, exact_sum(margin * margin) AS margin_sq,
    sum(correct::INTEGER)::BIGINT AS correct,
    sum(correct_norm::INTEGER)::BIGINT AS correct_norm,
    sum(correct_bytes::INTEGER)::BIGINT AS correct_bytes
FROM item_values
GROUP BY run_key;

-- What rolling texts need besides; other tasks' items are not read for it.
CREATE OR REPLACE VIEW rolling_sums AS
SELECT
    run_key,
    exact_sum(chars_gold) AS chars, exact_sum(chars_gold * chars_gold::DOUBLE) AS chars_sq,
    exact_sum(nll_gold * chars_gold) AS nll_chars,
    exact_sum(bytes_gold) AS bytes, exact_sum(bytes_gold * bytes_gold::DOUBLE) AS bytes_sq,
    exact_sum(nll_gold * bytes_gold) AS nll_bytes,
    exact_sum(tokens_gold) AS tokens, exact_sum(tokens_gold * tokens_gold::DOUBLE) AS tokens_sq,
    exact_sum(nll_gold * tokens_gold) AS nll_tokens
FROM item_values
WHERE output_type = 'loglikelihood_rolling'
GROUP BY run_key;

-- Runs with answers: the mean over items, its standard error, and how many draws an item has.
CREATE OR REPLACE VIEW answer_sums AS
SELECT
    run_key,
    max(num_samples) AS num_samples,
    count(exact_match) AS n_exact, sum(exact_match) AS exact,
    count(pass_rate) AS n_pass, exact_sum(pass_rate) AS pass, exact_sum(pass_rate * pass_rate) AS pass_sq
FROM item_answers
GROUP BY run_key;

-- Probabilities of whole answers may be as small as 1e-300: they are added up relative to the run's largest.
CREATE OR REPLACE VIEW gold_probabilities AS
SELECT
    v.run_key,
    count(v.nll_gold) AS n_p,
    exp(-any_value(m.least)) AS largest,
    exact_sum(exp(m.least - v.nll_gold)) AS p,
    exact_sum(exp(2.0 * (m.least - v.nll_gold))) AS p_sq
FROM item_values AS v
JOIN (
    SELECT run_key, min(nll_gold) AS least
    FROM item_values
    WHERE output_type IN ('generate_until', 'loglikelihood')
    GROUP BY run_key
) AS m USING (run_key)
GROUP BY v.run_key;

CREATE OR REPLACE VIEW scores AS
SELECT
    r.run_id,
    c.family,
    c.model,
    c.revision,
    c.step,
    t.task,
    t.num_fewshot,
    c.params,
    c.params_non_embedding,
    c.tokens,
    c.flops,
    c.flops_convention,
    c.is_final,
    s.n_items,
    t.n_items AS n_items_expected,
    CASE t.output_type WHEN 'multiple_choice' THEN s.chances / s.n_items WHEN 'loglikelihood' THEN 0.0
        WHEN 'generate_until' THEN CASE WHEN a.n_exact > 0 OR a.n_pass > 0 THEN 0.0 END END AS chance,
    CASE WHEN rolling THEN s.nll / x.chars ELSE mean_of(s.char, s.n_gold) END AS nll_per_char,
    CASE WHEN rolling THEN ratio_sem_of(s.nll_sq, x.nll_chars, x.chars_sq, s.nll, x.chars, s.n_items)
        ELSE sem_of(s.char, s.char_sq, s.n_gold) END AS nll_per_char_sem,
    CASE WHEN rolling THEN s.nll / x.bytes ELSE mean_of(s.byte, s.n_gold) END AS nll_per_byte,
    CASE WHEN rolling THEN ratio_sem_of(s.nll_sq, x.nll_bytes, x.bytes_sq, s.nll, x.bytes, s.n_items)
        ELSE sem_of(s.byte, s.byte_sq, s.n_gold) END AS nll_per_byte_sem,
    nll_per_byte / ln(2) AS bits_per_byte,
    nll_per_byte_sem / ln(2) AS bits_per_byte_sem,
    CASE WHEN rolling THEN s.nll / x.tokens ELSE mean_of(s.token, s.n_token) END AS nll_per_token,
    CASE WHEN rolling THEN ratio_sem_of(s.nll_sq, x.nll_tokens, x.tokens_sq, s.nll, x.tokens, s.n_items)
        ELSE sem_of(s.token, s.token_sq, s.n_token) END AS nll_per_token_sem,
    mean_of(s.nll, s.n_gold) AS nll_gold,
    sem_of(s.nll, s.nll_sq, s.n_gold) AS nll_gold_sem,
    mean_of(s.norm, s.n_norm) AS nll_choice_norm,
    sem_of(s.norm, s.norm_sq, s.n_norm) AS nll_choice_norm_sem,
    mean_of(s.p, s.n_norm) AS p_gold,
    sem_of(s.p, s.p_sq, s.n_norm) AS p_gold_sem,
    mean_of(s.brier, s.n_norm) AS brier,
    sem_of(s.brier, s.brier_sq, s.n_norm) AS brier_sem,
    mean_of(s.margin, s.n_margin) AS margin,
    sem_of(s.margin, s.margin_sq, s.n_margin) AS margin_sem,
    mean_of(s.correct, s.n_items) AS acc,
    sem_of(s.correct::DOUBLE, s.correct, s.n_items) AS acc_sem,
    mean_of(s.correct_norm, s.n_items) AS acc_norm,
    sem_of(s.correct_norm::DOUBLE, s.correct_norm, s.n_items) AS acc_norm_sem,
    mean_of(s.correct_bytes, s.n_items) AS acc_bytes,
    sem_of(s.correct_bytes::DOUBLE, s.correct_bytes, s.n_items) AS acc_bytes_sem,
    mean_of(a.exact, a.n_exact) AS exact_match,
    sem_of(a.exact, a.exact, a.n_exact) AS exact_match_sem,
    mean_of(a.pass, a.n_pass) AS pass_rate,
    sem_of(a.pass, a.pass_sq, a.n_pass) AS pass_rate_sem,
    e.largest * mean_of(e.p, e.n_p) AS p_exact,
    e.largest * sem_of(e.p, e.p_sq, e.n_p) AS p_exact_sem,
    a.num_samples,
    r.dtype,
    r.device,
    r.backend,
    r.scoring_version,
    t.item_limit,
    r.checkpoint_id,
    t.task_id,
    t.output_type
FROM run_sums AS s
LEFT JOIN rolling_sums AS x USING (run_key)
LEFT JOIN answer_sums AS a USING (run_key)
LEFT JOIN gold_probabilities AS e USING (run_key)
JOIN run_records AS r USING (run_key)
JOIN (SELECT *, output_type = 'loglikelihood_rolling' AS rolling FROM task_records) AS t USING (task_key)
LEFT JOIN checkpoints AS c USING (checkpoint_id);
