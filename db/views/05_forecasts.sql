-- Forecasts beside what was measured since: the truth is the forecast model's own final measurement of the same metric,
-- where that is unique. `signed_error` is point - truth (above 0: too high), `absolute_error` its size; `covered`, or `inside`,
-- says whether the interval held the truth. `error` is the absolute one here and the signed one in `forecast forecasts --json`:
-- both stay as they were, and the two longer names mean the same everywhere.

CREATE OR REPLACE VIEW measured_values AS
SELECT family, model, task, metric, any_value(value) AS value
FROM (
    SELECT family, model, task, unnest(['acc', 'acc_norm', 'acc_bytes']) AS metric, unnest([acc, acc_norm, acc_bytes]) AS value
    FROM observations
    WHERE coalesce(is_final, true)
)
WHERE value IS NOT NULL
GROUP BY family, model, task, metric
HAVING min(value) = max(value);

CREATE OR REPLACE VIEW forecasts AS
SELECT
    f.forecast_id, f.created_at, f.family, f.task, f.target, f.metric, f.method, f.level, f.point, f.lo, f.hi, f.verdict,
    coalesce(f.truth, m.value) AS truth,
    abs(f.point - coalesce(f.truth, m.value)) AS error,
    coalesce(f.truth, m.value) BETWEEN f.lo AND f.hi AS covered,
    f.point - coalesce(f.truth, m.value) AS signed_error,
    abs(f.point - coalesce(f.truth, m.value)) AS absolute_error,
    coalesce(f.truth, m.value) BETWEEN f.lo AND f.hi AS inside,
    f.target_params, f.target_tokens, f.target_flops, f.data_hash, f.code_version, f.payload
FROM forecast_records AS f
LEFT JOIN measured_values AS m
    ON m.family = f.family AND m.model = f.target AND m.task = f.task AND m.metric = f.metric;
