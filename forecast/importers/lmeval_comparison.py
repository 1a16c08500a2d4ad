"""A file's aggregates against the same numbers recomputed from its samples; every disagreement is reported."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from forecast.importers.lmeval_results import StatedTask
from forecast.importers.lmeval_samples import SampledItem, SampledTask

_RELATIVE = 1e-6
"""Files hold doubles, and the sums behind them differ only in their order."""


def recompute(samples: SampledTask) -> dict[str, float]:
    """Return the aggregates that lm-eval would state, by its names, as far as loglikelihoods decide them."""
    items = samples.items
    if samples.output_type == "loglikelihood_rolling":
        return _rolling(items)
    if samples.output_type == "loglikelihood":
        values = [entry.loglikelihoods[0] for entry in items]
        greedy = [float(entry.is_greedy[0]) for entry in items]
        return {"acc": float(np.mean(greedy)), "perplexity": _exp(-float(np.mean(values)))}
    scores: dict[str, Callable[[SampledItem], Sequence[float]]] = {
        "acc": lambda entry: entry.loglikelihoods,
        "acc_norm": lambda entry: np.divide(entry.loglikelihoods, _lengths(entry)).tolist(),
        "acc_bytes": lambda entry: np.divide(entry.loglikelihoods, _byte_lengths(entry)).tolist(),
    }
    found = {name: _accuracy(items, score) for name, score in scores.items()}
    if all(entry.unconditional for entry in items):
        found["acc_mutual_info"] = _accuracy(
            items, lambda entry: np.subtract(entry.loglikelihoods, entry.unconditional).tolist()
        )
    return found


def compare(stated: StatedTask, samples: SampledTask) -> list[str]:
    """Return one sentence for every aggregate of the file that its samples contradict."""
    sentences = []
    if stated.n_items is not None and stated.n_items != len(samples.items):
        sentences.append(f"{stated.task}: the file states {stated.n_items} items, its samples hold {len(samples.items)}")
    recomputed = recompute(samples)
    for name, value in recomputed.items():
        if name in stated.metrics and not _agree(stated.metrics[name], value):
            sentences.append(
                f"{stated.task}: the file states {name} = {stated.metrics[name]:.6g}, its samples give {value:.6g}"
            )
        if name.startswith("acc") and name in stated.sems:
            sem = math.sqrt(value * (1.0 - value) / (len(samples.items) - 1)) if len(samples.items) > 1 else math.nan
            if math.isfinite(sem) and not _agree(stated.sems[name], sem):
                sentences.append(
                    f"{stated.task}: the file states {name}_stderr = {stated.sems[name]:.6g}, its samples give {sem:.6g}"
                )
    return sentences


def _agree(stated: float, value: float) -> bool:
    return math.isclose(stated, value, rel_tol=_RELATIVE, abs_tol=1e-9)


def _accuracy(items: Sequence[SampledItem], score: Callable[[SampledItem], Sequence[float]]) -> float:
    right = [int(np.argmax(score(entry))) in (entry.item.golds or (entry.item.gold,)) for entry in items]
    return float(np.mean(right))


def _lengths(entry: SampledItem) -> list[float]:
    """lm-eval divides by the choice's length even where the choice is a context and another text is scored."""
    return [float(len(choice)) or math.nan for choice in entry.item.choices]


def _byte_lengths(entry: SampledItem) -> list[float]:
    return [float(len(choice.encode("utf-8", errors="surrogatepass"))) or math.nan for choice in entry.item.choices]


def _rolling(items: Sequence[SampledItem]) -> dict[str, float]:
    total = sum(entry.loglikelihoods[0] for entry in items)
    n_bytes = sum(entry.item.n_bytes[0] for entry in items)
    found = {"byte_perplexity": _exp(-total / n_bytes), "bits_per_byte": -total / n_bytes / math.log(2.0)}
    if all(entry.words for entry in items):
        found["word_perplexity"] = _exp(-total / sum(entry.words or 0 for entry in items))
    return found


def _exp(value: float) -> float:
    return math.exp(value) if value < 700.0 else math.inf
