-- The records under their public names: hashes instead of internal keys, and what belongs together side by side.

-- Latest word on every checkpoint: a later statement adds to or corrects an earlier one, and an unknown never erases.
CREATE OR REPLACE VIEW checkpoints AS
SELECT
    checkpoint_id,
    arg_max(family, registered_at) AS family,
    arg_max(model, registered_at) AS model,
    coalesce(arg_max(revision, registered_at) FILTER (revision <> ''), '') AS revision,
    coalesce(arg_max(revision_sha, registered_at) FILTER (revision_sha <> ''), '') AS revision_sha,
    coalesce(arg_max(source, registered_at) FILTER (source <> ''), '') AS source,
    arg_max(step, registered_at) FILTER (step IS NOT NULL) AS step,
    arg_max(params, registered_at) FILTER (params IS NOT NULL) AS params,
    arg_max(params_non_embedding, registered_at) FILTER (params_non_embedding IS NOT NULL) AS params_non_embedding,
    arg_max(tokens, registered_at) FILTER (tokens IS NOT NULL) AS tokens,
    arg_max(flops, registered_at) FILTER (flops IS NOT NULL) AS flops,
    arg_max(flops_convention, registered_at) FILTER (flops IS NOT NULL) AS flops_convention,
    coalesce(arg_max(architecture, registered_at) FILTER (architecture <> ''), '') AS architecture,
    coalesce(arg_max(tokenizer_hash, registered_at) FILTER (tokenizer_hash <> ''), '') AS tokenizer_hash,
    arg_max(is_final, registered_at) AS is_final,
    coalesce(arg_max(metadata, registered_at) FILTER (metadata <> '{}'), '{}') AS metadata
FROM checkpoint_records
GROUP BY checkpoint_id;

CREATE OR REPLACE VIEW tasks AS
SELECT
    task_id, task, num_fewshot, fewshot_seed, output_type, definition_hash, version, item_limit, n_items, metadata
FROM task_records;

CREATE OR REPLACE VIEW items AS
SELECT
    t.task_id, i.item_idx, i.gold, i.golds, i.prompt, i.prompt_hash, i.choices, i.n_chars, i.n_bytes, i.item_group
FROM item_records AS i
JOIN task_records AS t USING (task_key);

-- A run's sessions add up; it is complete once any session completed it.
CREATE OR REPLACE VIEW runs AS
SELECT
    r.run_id,
    r.checkpoint_id,
    c.family,
    c.model,
    c.revision,
    c.step,
    t.task,
    t.num_fewshot,
    r.dtype,
    r.device,
    CASE WHEN s.completed THEN 'complete' ELSE coalesce(s.status, 'running') END AS status,
    t.task_id,
    t.n_items AS n_items_expected,
    r.backend,
    r.scoring_version,
    r.started_at,
    CASE WHEN s.completed THEN '' ELSE coalesce(s.error, '') END AS error,
    s.tokens_requested,
    s.tokens_unique,
    s.tokens_computed,
    s.tokens_padded,
    s.tokens_truncated,
    s.seconds,
    s.flops_done,
    s.flops_bound,
    r.metadata
FROM run_records AS r
JOIN task_records AS t USING (task_key)
LEFT JOIN checkpoints AS c USING (checkpoint_id)
LEFT JOIN (
    SELECT
        run_id,
        bool_or(status = 'complete') AS completed,
        arg_max(status, closed_at) AS status,
        arg_max(error, closed_at) AS error,
        sum(tokens_requested)::BIGINT AS tokens_requested,
        sum(tokens_unique)::BIGINT AS tokens_unique,
        sum(tokens_computed)::BIGINT AS tokens_computed,
        sum(tokens_padded)::BIGINT AS tokens_padded,
        sum(tokens_truncated)::BIGINT AS tokens_truncated,
        sum(seconds) AS seconds,
        sum(flops_done) AS flops_done,
        sum(flops_bound) AS flops_bound
    FROM run_closings
    GROUP BY run_id
) AS s USING (run_id);

CREATE OR REPLACE VIEW item_scores AS
SELECT r.run_id, s.item_idx, s.loglikelihoods, s.n_tokens, s.is_greedy
FROM item_results AS s
JOIN run_records AS r USING (run_key);
