-- Accuracy by part of a task, e.g. by MMLU subject: a task's item groups, and tasks that are members of one (mmlu_*).
SELECT r.family, r.model, r.revision, r.task, r.num_fewshot,
    coalesce(nullif(m.item_group, ''), regexp_extract(r.task, '^(?:mmlu|hendrycksTest|blimp|bbh)[_-](.+)$', 1)) AS subject,
    count(*) AS n_items, round(avg(m.correct::INTEGER), 4) AS acc, round(avg(m.correct_norm::INTEGER), 4) AS acc_norm,
    round(avg(m.nll_per_char), 5) AS nll_per_char
FROM item_metrics AS m
JOIN runs AS r USING (run_id)
WHERE m.correct IS NOT NULL
GROUP BY ALL
HAVING subject <> ''
ORDER BY r.family, r.model, r.revision, r.task, r.num_fewshot, acc DESC, subject;
