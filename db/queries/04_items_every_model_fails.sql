-- Items that every final checkpoint gets wrong: too hard, or wrongly labelled.
SELECT t.task, t.num_fewshot, m.item_idx, count(*) AS models, round(avg(m.p_gold), 4) AS mean_p_gold,
    any_value(left(i.prompt, 200)) AS prompt, any_value(i.choices[i.gold + 1]) AS gold
FROM item_metrics AS m
JOIN runs AS r USING (run_id)
JOIN checkpoints AS c USING (checkpoint_id)
JOIN tasks AS t USING (task_id)
JOIN items AS i ON i.task_id = r.task_id AND i.item_idx = m.item_idx
WHERE c.is_final AND m.correct IS NOT NULL
GROUP BY t.task, t.num_fewshot, r.task_id, m.item_idx
HAVING count(*) > 1 AND NOT bool_or(m.correct)
ORDER BY t.task, t.num_fewshot, mean_p_gold, m.item_idx;
