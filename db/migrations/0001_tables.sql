-- What was measured, and nothing derived. Rows are only ever added; integer keys stand for the long content hashes
-- inside the file (joins over millions of items need that), views give the hashes back.

CREATE TABLE checkpoint_records (
    -- One row per statement about a checkpoint: a later one adds to or corrects an earlier one (view `checkpoints`).
    checkpoint_id VARCHAR NOT NULL,
    registered_at BIGINT NOT NULL,          -- nanoseconds since 1970
    facts_hash VARCHAR NOT NULL,
    family VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    revision VARCHAR NOT NULL,
    revision_sha VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    step BIGINT,
    params BIGINT,
    params_non_embedding BIGINT,
    tokens BIGINT,
    flops DOUBLE,
    flops_convention VARCHAR,
    architecture VARCHAR NOT NULL,
    tokenizer_hash VARCHAR NOT NULL,
    is_final BOOLEAN NOT NULL,
    metadata VARCHAR NOT NULL               -- a JSON object
);

CREATE TABLE task_records (
    task_key INTEGER NOT NULL,
    task_id VARCHAR NOT NULL,
    task VARCHAR NOT NULL,
    num_fewshot INTEGER NOT NULL,
    fewshot_seed BIGINT,
    output_type VARCHAR NOT NULL
        CHECK (output_type IN ('multiple_choice', 'loglikelihood', 'loglikelihood_rolling', 'generate_until')),
    definition_hash VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    item_limit INTEGER,                     -- items asked for when not all
    n_items INTEGER NOT NULL,               -- items of the task under that limit
    metadata VARCHAR NOT NULL
);

CREATE TABLE item_records (
    task_key INTEGER NOT NULL,
    item_idx INTEGER NOT NULL,
    gold INTEGER NOT NULL,                  -- index of the correct choice, from 0
    golds INTEGER[] NOT NULL,               -- all of them where several are correct, else empty
    prompt VARCHAR NOT NULL,
    prompt_hash VARCHAR NOT NULL,
    choices VARCHAR[] NOT NULL,             -- without the delimiter that joins them to the prompt
    n_chars INTEGER[] NOT NULL,
    n_bytes INTEGER[] NOT NULL,
    item_group VARCHAR NOT NULL             -- part of the task, e.g. an MMLU subject
);

CREATE TABLE run_records (
    run_key INTEGER NOT NULL,
    run_id VARCHAR NOT NULL,
    checkpoint_id VARCHAR NOT NULL,
    task_key INTEGER NOT NULL,
    dtype VARCHAR NOT NULL,
    device VARCHAR NOT NULL,
    backend VARCHAR NOT NULL,
    scoring_version VARCHAR NOT NULL,
    started_at VARCHAR NOT NULL,            -- UTC, ISO 8601
    metadata VARCHAR NOT NULL
);

CREATE TABLE run_closings (
    -- One row per session that worked on a run and ended; a killed session leaves none.
    closing_id VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    closed_at BIGINT NOT NULL,              -- nanoseconds since 1970
    status VARCHAR NOT NULL CHECK (status IN ('running', 'complete', 'failed')),
    error VARCHAR NOT NULL,
    tokens_requested BIGINT,
    tokens_unique BIGINT,
    tokens_computed BIGINT,
    tokens_padded BIGINT,
    tokens_truncated BIGINT,
    seconds DOUBLE,
    flops_done DOUBLE,
    flops_bound DOUBLE
);

CREATE TABLE item_results (
    run_key INTEGER NOT NULL,
    item_idx INTEGER NOT NULL,
    loglikelihoods DOUBLE[] NOT NULL,       -- log p(choice | prompt), nats
    n_tokens INTEGER[] NOT NULL,
    is_greedy BOOLEAN[] NOT NULL
);

CREATE TABLE imported_observations (
    observation_id VARCHAR NOT NULL,
    batch BIGINT NOT NULL,                  -- nanoseconds since 1970: rows that came together share it
    source VARCHAR NOT NULL,
    definition VARCHAR NOT NULL,
    family VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    revision VARCHAR NOT NULL,
    step BIGINT,
    task VARCHAR NOT NULL,
    num_fewshot INTEGER,
    params DOUBLE,
    params_non_embedding DOUBLE,
    tokens DOUBLE,
    flops DOUBLE,
    flops_convention VARCHAR,
    is_final BOOLEAN,
    n_items BIGINT,
    chance DOUBLE,
    lr_fraction DOUBLE,
    nll_per_char DOUBLE,
    nll_per_byte DOUBLE,
    bits_per_byte DOUBLE,
    nll_per_token DOUBLE,
    nll_choice_norm DOUBLE,
    p_gold DOUBLE,
    loss DOUBLE,
    acc DOUBLE,
    acc_norm DOUBLE,
    acc_bytes DOUBLE,
    nll_per_char_sem DOUBLE,
    nll_per_byte_sem DOUBLE,
    bits_per_byte_sem DOUBLE,
    nll_per_token_sem DOUBLE,
    nll_choice_norm_sem DOUBLE,
    p_gold_sem DOUBLE,
    loss_sem DOUBLE,
    acc_sem DOUBLE,
    acc_norm_sem DOUBLE,
    acc_bytes_sem DOUBLE,
    metadata VARCHAR NOT NULL
);

CREATE TABLE fits (
    fit_id VARCHAR NOT NULL,
    created_at VARCHAR NOT NULL,            -- UTC, ISO 8601
    family VARCHAR NOT NULL,
    task VARCHAR NOT NULL,
    law VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    data_hash VARCHAR NOT NULL,
    code_version VARCHAR NOT NULL,
    payload VARCHAR NOT NULL                -- the whole result, a JSON object
);

CREATE TABLE forecast_records (
    forecast_id VARCHAR NOT NULL,
    created_at VARCHAR NOT NULL,
    family VARCHAR NOT NULL,
    task VARCHAR NOT NULL,
    target VARCHAR NOT NULL,                -- the forecast model's name
    target_params DOUBLE,
    target_tokens DOUBLE,
    target_flops DOUBLE,
    metric VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    level DOUBLE NOT NULL,
    point DOUBLE NOT NULL,
    lo DOUBLE NOT NULL,
    hi DOUBLE NOT NULL,
    verdict VARCHAR NOT NULL,
    data_hash VARCHAR NOT NULL,
    code_version VARCHAR NOT NULL,
    truth DOUBLE,                           -- known when the forecast was made (holdout), never used to fit
    payload VARCHAR NOT NULL
);
