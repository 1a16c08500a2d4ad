-- How a model learns: every checkpoint of every run along its training tokens.
SELECT family, model, task, num_fewshot, step, tokens, flops,
    round(nll_per_char, 5) AS nll_per_char, round(nll_choice_norm, 5) AS nll_choice_norm, round(acc, 4) AS acc
FROM scores
ORDER BY family, params, model, task, num_fewshot, tokens, step;
