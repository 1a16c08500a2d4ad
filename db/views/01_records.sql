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

-- The gold answer token by token. One token's loglikelihood is the answer's own; of an answer of more, it may be unknown.
CREATE OR REPLACE VIEW item_tokens AS
SELECT run_id, item_idx, generate_subscripts(by_token, 1)::INTEGER - 1 AS position, unnest(by_token) AS loglikelihood
FROM (
    SELECT
        r.run_id,
        s.item_idx,
        CASE WHEN s.n_tokens[i.gold + 1] = 1 THEN [s.loglikelihoods[i.gold + 1]]
            ELSE s.gold_token_loglikelihoods::DOUBLE[] END AS by_token
    FROM item_results AS s
    JOIN run_records AS r USING (run_key)
    JOIN item_records AS i ON i.task_key = r.task_key AND i.item_idx = s.item_idx
);

-- `extracted` is what the task's first filter made of the text; those of all filters are in `generation_extracts`.
CREATE OR REPLACE VIEW generations AS
SELECT
    r.run_id, g.item_idx, g.sample_idx, t.text, g.n_tokens, g.correct, e.text AS extracted, g.stopped, g.filters[1] AS filter
FROM generation_records AS g
JOIN run_records AS r USING (run_key)
JOIN generation_texts AS t USING (text_key)
LEFT JOIN generation_texts AS e ON e.text_key = g.extracted_keys[1];

CREATE OR REPLACE VIEW generation_extracts AS
SELECT r.run_id, g.item_idx, g.sample_idx, g.filter, t.text AS extracted
FROM (
    SELECT run_key, item_idx, sample_idx, unnest(filters) AS filter, unnest(extracted_keys) AS text_key FROM generation_records
) AS g
JOIN run_records AS r USING (run_key)
JOIN generation_texts AS t USING (text_key);

-- lm-eval's numbers for every answer, e.g. metric `exact_match` under the filter `strict-match`.
CREATE OR REPLACE VIEW generation_metrics AS
SELECT
    r.run_id,
    g.item_idx,
    g.sample_idx,
    split_part(g.entry.key, ',', 1) AS metric,
    CASE WHEN instr(g.entry.key, ',') > 0 THEN substr(g.entry.key, instr(g.entry.key, ',') + 1) ELSE '' END AS filter,
    g.entry.value AS value
FROM (
    SELECT run_key, item_idx, sample_idx, unnest(map_entries(metric_values)) AS entry FROM generation_records
) AS g
JOIN run_records AS r USING (run_key);
