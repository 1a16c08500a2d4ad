-- Where models are surest of a wrong answer: the largest margins against the correct choice.
SELECT r.family, r.model, r.revision, r.task, r.num_fewshot, m.item_idx, round(m.margin, 3) AS margin, round(m.p_gold, 5) AS p_gold,
    left(i.prompt, 120) AS prompt, i.choices[i.gold + 1] AS gold,
    i.choices[list_position(s.loglikelihoods, list_max(s.loglikelihoods))] AS chosen
FROM item_metrics AS m
JOIN runs AS r USING (run_id)
JOIN item_scores AS s ON s.run_id = m.run_id AND s.item_idx = m.item_idx
JOIN items AS i ON i.task_id = r.task_id AND i.item_idx = m.item_idx
WHERE NOT m.correct AND m.margin IS NOT NULL
ORDER BY m.margin, r.family, r.model, m.item_idx
LIMIT 50;
