-- Answers that models wrote, and the gold answer's loglikelihood token by token (NULL where nobody said it, and where the answer
-- is one token: then it is the item's loglikelihood).

ALTER TABLE item_results ADD COLUMN IF NOT EXISTS gold_token_loglikelihoods FLOAT[];    -- nats

CREATE TABLE generation_texts (
    -- Every text once: many draws, and many models, write the same.
    text_key INTEGER NOT NULL,
    text_hash UHUGEINT NOT NULL,            -- md5 of `text`
    text VARCHAR NOT NULL
);

CREATE TABLE generation_records (
    run_key INTEGER NOT NULL,
    item_idx INTEGER NOT NULL,
    sample_idx INTEGER NOT NULL,            -- number of the draw; a greedy answer is number 0
    text_key INTEGER NOT NULL,
    n_tokens INTEGER NOT NULL,
    stopped BOOLEAN NOT NULL,               -- false: the limit of tokens ended it
    correct BOOLEAN,
    filters VARCHAR[] NOT NULL,             -- the task's filters, in order
    extracted_keys INTEGER[] NOT NULL,      -- what each of them made of the text
    metric_values MAP(VARCHAR, DOUBLE) NOT NULL     -- by lm-eval's `metric,filter`
);
