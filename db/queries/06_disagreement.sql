-- How far two checkpoints of one model disagree: share of items that only one of them solves, neighbours in training.
WITH ordered AS (
    SELECT r.run_id, c.family, c.model, r.task_id, t.task, t.num_fewshot, r.dtype, r.backend,
        coalesce(c.step::VARCHAR, c.revision) AS revision,
        lead(r.run_id) OVER later AS next_run_id,
        lead(coalesce(c.step::VARCHAR, c.revision)) OVER later AS next_revision
    FROM runs AS r
    JOIN checkpoints AS c USING (checkpoint_id)
    JOIN tasks AS t USING (task_id)
    WINDOW later AS (
        PARTITION BY c.family, c.model, r.task_id, r.dtype, r.backend ORDER BY c.tokens, c.step, c.revision, r.run_id
    )
)
SELECT o.family, o.model, o.task, o.num_fewshot, o.revision, o.next_revision, count(*) AS n_items,
    round(avg((a.correct AND NOT b.correct)::INTEGER), 4) AS lost,
    round(avg((b.correct AND NOT a.correct)::INTEGER), 4) AS gained,
    round(lost + gained, 4) AS disagreement
FROM ordered AS o
JOIN item_metrics AS a ON a.run_id = o.run_id
JOIN item_metrics AS b ON b.run_id = o.next_run_id AND b.item_idx = a.item_idx
WHERE a.correct IS NOT NULL AND b.correct IS NOT NULL
GROUP BY ALL
ORDER BY o.family, o.model, o.task, o.num_fewshot, o.revision;
