-- Per run: means over its items with their standard errors, sample standard deviation / sqrt(n) as in lm-eval.
-- Sums are compensated (fsum), so that the order in which shards arrived does not show in the last digit.
-- For rolling text the means are per unit of text, sum(nll) / sum(units), as perplexity needs; their standard error is the
-- ratio estimator's, sqrt(sum((y - R x)^2) / (n (n - 1))) / mean(x).

CREATE OR REPLACE MACRO mean_of(total, n) AS total / nullif(n, 0);
-- Rounding can leave a variance of zero slightly below zero. (`greatest` would turn NULL into zero.)
CREATE OR REPLACE MACRO not_below_zero(x) AS CASE WHEN x < 0.0 THEN 0.0 ELSE x END;
CREATE OR REPLACE MACRO sem_of(total, squares, n) AS
    CASE WHEN n > 1 THEN sqrt(not_below_zero(squares - total * total / n) / (n - 1) / n) END;
CREATE OR REPLACE MACRO ratio_sem_of(yy, xy, xx, y, x, n) AS
    CASE WHEN n > 1 THEN sqrt(not_below_zero(yy - 2 * (y / x) * xy + (y / x) * (y / x) * xx) / (n * (n - 1.0))) / (x / n) END;

CREATE OR REPLACE VIEW run_sums AS
SELECT
    run_key,
    count(*) AS n_items,
    fsum(n_golds / n_choices) AS chance_sum,
    fsum(nll_gold) AS nll, fsum(nll_gold * nll_gold) AS nll_sq,
    fsum(nll_per_char) AS char, fsum(nll_per_char * nll_per_char) AS char_sq,
    fsum(nll_per_byte) AS byte, fsum(nll_per_byte * nll_per_byte) AS byte_sq,
    fsum(nll_per_token) AS token, fsum(nll_per_token * nll_per_token) AS token_sq,
    fsum(nll_choice_norm) AS norm, fsum(nll_choice_norm * nll_choice_norm) AS norm_sq,
    fsum(p_gold) AS p, fsum(p_gold * p_gold) AS p_sq,
    fsum(margin) AS margin, fsum(margin * margin) AS margin_sq,
    sum(correct::INTEGER)::BIGINT AS correct,
    sum(correct_norm::INTEGER)::BIGINT AS correct_norm,
    sum(correct_bytes::INTEGER)::BIGINT AS correct_bytes,
    fsum(chars_gold) AS chars, fsum(chars_gold * chars_gold::DOUBLE) AS chars_sq, fsum(nll_gold * chars_gold) AS nll_chars,
    fsum(bytes_gold) AS bytes, fsum(bytes_gold * bytes_gold::DOUBLE) AS bytes_sq, fsum(nll_gold * bytes_gold) AS nll_bytes,
    fsum(tokens_gold) AS tokens, fsum(tokens_gold * tokens_gold::DOUBLE) AS tokens_sq, fsum(nll_gold * tokens_gold) AS nll_tokens
FROM item_values
GROUP BY run_key;

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
    CASE t.output_type WHEN 'multiple_choice' THEN s.chance_sum / s.n_items WHEN 'loglikelihood' THEN 0.0 END AS chance,
    CASE WHEN rolling THEN s.nll / s.chars ELSE mean_of(s.char, s.n_items) END AS nll_per_char,
    CASE WHEN rolling THEN ratio_sem_of(s.nll_sq, s.nll_chars, s.chars_sq, s.nll, s.chars, s.n_items)
        ELSE sem_of(s.char, s.char_sq, s.n_items) END AS nll_per_char_sem,
    CASE WHEN rolling THEN s.nll / s.bytes ELSE mean_of(s.byte, s.n_items) END AS nll_per_byte,
    CASE WHEN rolling THEN ratio_sem_of(s.nll_sq, s.nll_bytes, s.bytes_sq, s.nll, s.bytes, s.n_items)
        ELSE sem_of(s.byte, s.byte_sq, s.n_items) END AS nll_per_byte_sem,
    nll_per_byte / ln(2) AS bits_per_byte,
    nll_per_byte_sem / ln(2) AS bits_per_byte_sem,
    CASE WHEN rolling THEN s.nll / nullif(s.tokens, 0) ELSE mean_of(s.token, s.n_items) END AS nll_per_token,
    CASE WHEN rolling THEN ratio_sem_of(s.nll_sq, s.nll_tokens, s.tokens_sq, s.nll, s.tokens, s.n_items)
        ELSE sem_of(s.token, s.token_sq, s.n_items) END AS nll_per_token_sem,
    mean_of(s.nll, s.n_items) AS nll_gold,
    sem_of(s.nll, s.nll_sq, s.n_items) AS nll_gold_sem,
    mean_of(s.norm, s.n_items) AS nll_choice_norm,
    sem_of(s.norm, s.norm_sq, s.n_items) AS nll_choice_norm_sem,
    mean_of(s.p, s.n_items) AS p_gold,
    sem_of(s.p, s.p_sq, s.n_items) AS p_gold_sem,
    mean_of(s.margin, s.n_items) AS margin,
    sem_of(s.margin, s.margin_sq, s.n_items) AS margin_sem,
    mean_of(s.correct, s.n_items) AS acc,
    sem_of(s.correct::DOUBLE, s.correct, s.n_items) AS acc_sem,
    mean_of(s.correct_norm, s.n_items) AS acc_norm,
    sem_of(s.correct_norm::DOUBLE, s.correct_norm, s.n_items) AS acc_norm_sem,
    mean_of(s.correct_bytes, s.n_items) AS acc_bytes,
    sem_of(s.correct_bytes::DOUBLE, s.correct_bytes, s.n_items) AS acc_bytes_sem,
    r.dtype,
    r.device,
    r.backend,
    r.scoring_version,
    t.item_limit,
    r.checkpoint_id,
    t.task_id,
    t.output_type
FROM run_sums AS s
JOIN run_records AS r USING (run_key)
JOIN (SELECT *, output_type = 'loglikelihood_rolling' AS rolling FROM task_records) AS t USING (task_key)
LEFT JOIN checkpoints AS c USING (checkpoint_id);
