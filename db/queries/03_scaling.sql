-- What laws are fitted on: loss and accuracy of final checkpoints along compute, measured here or imported.
SELECT family, task, num_fewshot, model, flops, flops_convention, params, tokens,
    coalesce(nll_per_char, bits_per_byte, loss) AS nll, acc, acc_norm, provenance, source
FROM observations
WHERE coalesce(is_final, true)
ORDER BY family, task, num_fewshot, flops;
