-- How good the forecasts were: each with its interval, and the truth where it has been measured since.
SELECT created_at, family, task, target, metric, method, level, round(point, 4) AS point, round(lo, 4) AS lo, round(hi, 4) AS hi,
    round(truth, 4) AS truth, round(error, 4) AS error, covered, verdict
FROM forecasts
ORDER BY created_at DESC, family, task, target;
