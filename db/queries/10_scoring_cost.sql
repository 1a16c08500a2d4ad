-- What scoring cost: tokens and seconds of every run, how much shared prefixes saved, share of padding.
SELECT family, model, revision, task, num_fewshot, status, dtype, device, backend,
    tokens_requested, tokens_unique, tokens_computed, tokens_padded, tokens_truncated,
    round(seconds, 2) AS seconds,
    round(tokens_computed / nullif(seconds, 0)) AS tokens_per_second,
    round(1 - tokens_computed / nullif(tokens_requested, 0), 3) AS saved,
    round(tokens_padded / nullif(tokens_padded + tokens_computed, 0), 3) AS padding
FROM runs
ORDER BY family, model, revision, task, num_fewshot;
