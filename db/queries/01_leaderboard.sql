-- Which model is best at what: final checkpoints by task, best first.
SELECT task, num_fewshot, family, model, round(coalesce(acc_norm, acc), 4) AS accuracy,
    round(coalesce(acc_norm_sem, acc_sem), 4) AS sem, round(chance, 4) AS chance, n_items, params, tokens
FROM scores
WHERE is_final AND acc IS NOT NULL
ORDER BY task, num_fewshot, accuracy DESC, params;
