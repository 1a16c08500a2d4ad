-- What laws are fitted on: one row per checkpoint and task, derived from stored items or imported from somebody's table.
-- A derived row needs all items of its task. `definition` sets measurements of one task apart that must never be mixed.

CREATE OR REPLACE VIEW current_imports AS
-- What was not withdrawn; of what one source said twice about the same checkpoint and task, the last word counts.
SELECT o.*
FROM imported_observations AS o
LEFT JOIN (
    SELECT observation_id, max(batch) AS batch FROM withdrawn_observations GROUP BY observation_id
) AS w ON w.observation_id = o.observation_id
WHERE coalesce(w.batch, 0) <= o.batch
QUALIFY o.batch = max(o.batch) OVER (
    PARTITION BY o.source, o.definition, o.family, o.model, o.revision, o.step, o.task, o.num_fewshot, o.tokens, o.params, o.flops
);

CREATE OR REPLACE VIEW text_losses AS
-- General-text loss of a checkpoint, where exactly one text set was measured.
SELECT family, model, step, any_value(loss) AS loss
FROM current_imports
WHERE loss IS NOT NULL AND acc IS NULL AND acc_norm IS NULL AND acc_bytes IS NULL
GROUP BY family, model, step
HAVING count(DISTINCT task) = 1 AND min(loss) = max(loss);

CREATE OR REPLACE VIEW observations AS
SELECT
    'derived' AS provenance,
    'derived' AS source,
    concat_ws(
        ' ', 'task=' || left(s.definition_hash, 8), 'version=' || s.version, 'limit=' || coalesce(s.item_limit::VARCHAR, 'none'),
        'fewshot_seed=' || coalesce(s.fewshot_seed::VARCHAR, 'none'), 'dtype=' || s.dtype, 'backend=' || s.backend,
        'scoring=' || s.scoring_version
    ) AS definition,
    s.family, s.model, s.revision, s.step, s.task, s.num_fewshot,
    s.params::DOUBLE AS params, s.params_non_embedding::DOUBLE AS params_non_embedding, s.tokens::DOUBLE AS tokens,
    s.flops, s.flops_convention, s.is_final, s.n_items, s.chance,
    TRY_CAST(json_extract_string(s.metadata, '$.lr_fraction') AS DOUBLE) AS lr_fraction,
    s.nll_per_char, s.nll_per_byte, s.bits_per_byte, s.nll_per_token, s.nll_choice_norm, s.p_gold, s.brier,
    CASE WHEN s.output_type = 'loglikelihood_rolling' THEN s.nll_per_token
        ELSE coalesce(TRY_CAST(json_extract_string(s.metadata, '$.validation_loss') AS DOUBLE), x.loss) END AS loss,
    s.acc, s.acc_norm, s.acc_bytes,
    s.nll_per_char_sem, s.nll_per_byte_sem, s.bits_per_byte_sem, s.nll_per_token_sem, s.nll_choice_norm_sem, s.p_gold_sem,
    s.brier_sem,
    CASE WHEN s.output_type = 'loglikelihood_rolling' THEN s.nll_per_token_sem END AS loss_sem,
    s.acc_sem, s.acc_norm_sem, s.acc_bytes_sem,
    s.run_id, s.dtype, s.item_limit, s.metadata
FROM (
    SELECT scores.*, t.definition_hash, t.version, t.fewshot_seed, c.metadata
    FROM scores
    JOIN task_records AS t USING (task_id)
    LEFT JOIN checkpoints AS c USING (checkpoint_id)
    WHERE scores.n_items = t.n_items
) AS s
LEFT JOIN text_losses AS x
    ON x.family = s.family AND x.model = s.model AND x.step IS NOT DISTINCT FROM s.step
UNION ALL BY NAME
SELECT
    'imported' AS provenance, source, definition, family, model, revision, step, task, num_fewshot,
    params, params_non_embedding, tokens, flops, flops_convention, is_final, n_items, chance, lr_fraction,
    nll_per_char, nll_per_byte, bits_per_byte, nll_per_token, nll_choice_norm, p_gold, brier, loss, acc, acc_norm, acc_bytes,
    nll_per_char_sem, nll_per_byte_sem, bits_per_byte_sem, nll_per_token_sem, nll_choice_norm_sem, p_gold_sem, brier_sem, loss_sem,
    acc_sem, acc_norm_sem, acc_bytes_sem,
    NULL AS run_id, NULL AS dtype, NULL AS item_limit, metadata
FROM current_imports;
