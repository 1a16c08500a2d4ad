-- Items that the smaller half of a family fails and the larger half solves: where scale helps.
WITH ranked AS (
    SELECT c.family, r.task_id, t.task, t.num_fewshot, m.item_idx, m.correct,
        percent_rank() OVER (PARTITION BY c.family, r.task_id, m.item_idx ORDER BY c.flops, c.params) AS place
    FROM item_metrics AS m
    JOIN runs AS r USING (run_id)
    JOIN checkpoints AS c USING (checkpoint_id)
    JOIN tasks AS t USING (task_id)
    WHERE c.is_final AND m.correct IS NOT NULL
)
SELECT family, task, num_fewshot, item_idx,
    round(avg(correct::INTEGER) FILTER (place < 0.5), 3) AS small_acc,
    round(avg(correct::INTEGER) FILTER (place >= 0.5), 3) AS large_acc,
    round(large_acc - small_acc, 3) AS gain
FROM ranked
GROUP BY family, task, num_fewshot, task_id, item_idx
HAVING small_acc IS NOT NULL AND abs(large_acc - small_acc) >= 0.5
ORDER BY abs(gain) DESC, family, task, num_fewshot, item_idx;
