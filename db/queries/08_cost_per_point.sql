-- What a point of accuracy costs: extra training FLOPs per percentage point between neighbouring models of a family.
WITH steps AS (
    SELECT family, task, num_fewshot, model, flops, acc,
        lag(model) OVER larger AS from_model, lag(flops) OVER larger AS from_flops, lag(acc) OVER larger AS from_acc
    FROM observations
    WHERE coalesce(is_final, true) AND acc IS NOT NULL AND flops IS NOT NULL
    WINDOW larger AS (PARTITION BY family, task, num_fewshot, source, definition ORDER BY flops)
)
SELECT family, task, num_fewshot, from_model, model AS to_model,
    round(100 * (acc - from_acc), 2) AS points, flops - from_flops AS extra_flops,
    CASE WHEN acc > from_acc THEN (flops - from_flops) / (100 * (acc - from_acc)) END AS flops_per_point
FROM steps
WHERE from_model IS NOT NULL
ORDER BY family, task, num_fewshot, flops;
