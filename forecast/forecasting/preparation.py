"""From a ladder to the sample that methods are fitted on: bad rows out, each run thinned, replicates drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.errors import NotForecastableError, UsageError
from forecast.core.metrics import ACCURACY_METRICS, NLL_METRICS, MetricKind, preferred
from forecast.core.observations import BoolArray, FloatArray, Ladder
from forecast.core.scale import scale_fault
from forecast.forecasting.sample import Detail, IntArray, Sample

CHECKPOINTS_PER_RUN = 8
"""Bins in log C that one run's checkpoints are averaged into: they are autocorrelated, so more rows say little more."""
EARLY_SHARE = 0.02
"""Checkpoints before this share of their run are left out: warm-up, and no law holds there."""
MIN_RUNS = 2
MIN_CHECKPOINTS = 3
DEFAULT_ITEMS = 1000
"""Items assumed for the sampling error when a source states none."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A sample with what was decided on the way."""

    sample: Sample
    metric: str
    """Accuracy metric."""
    runs: tuple[str, ...]
    """Names of the runs, in the order of `Sample.run`."""
    rows_used: int
    """Checkpoints behind the sample, before thinning."""
    min_flops: float
    max_flops: float
    warnings: tuple[str, ...]


def choose_metric(ladder: Ladder, metric: str | None) -> str:
    """Return the accuracy metric to forecast: the one asked for, or else the ladder's own, or else the first that was measured.

    Raises:
        UsageError: the metric asked for is not an accuracy metric or was not measured.
        NotForecastableError: no accuracy was measured.
    """
    measured = [name for name in ACCURACY_METRICS if name in ladder.metrics and np.isfinite(ladder.metrics[name]).any()]
    if metric is not None:
        if metric not in measured:
            raise UsageError(
                f"metric '{metric}' was not measured on {ladder.task} for {ladder.family}",
                expected="one of " + (", ".join(measured) or "none: no accuracy is stored"),
            )
        return metric
    found = preferred(measured, [MetricKind.ACCURACY], card=ladder.accuracy_metric)
    if found is None:
        raise NotForecastableError(
            f"no accuracy of {ladder.family} on {ladder.task} is a finite number", expected=", ".join(ACCURACY_METRICS)
        )
    return found


def prepare(ladder: Ladder, *, metric: str) -> Prepared:
    """Clean and thin a ladder.

    Raises:
        NotForecastableError: fewer than two runs or three checkpoints remain, or compute or accuracy does not vary.
    """
    accuracy = ladder.metrics[metric]
    possible = _possible(ladder)
    known = np.isfinite(ladder.flops) & (ladder.flops > 0) & possible
    usable = known & np.isfinite(accuracy)
    if not known.any():
        raise NotForecastableError(
            f"no checkpoint of {ladder.family} on {ladder.task} has known training FLOPs",
            expected="flops, or params with tokens",
            remedy="import them, or give `flops=` at evaluation",
        )
    late = _late_enough(ladder)
    warnings = _left_out(ladder, metric, known, possible, usable & ~late)
    kept = ladder.take(usable & late)
    runs = tuple(dict.fromkeys(kept.model))
    if len(runs) < MIN_RUNS:
        raise NotForecastableError(
            f"{ladder.family} on {ladder.task} has {len(runs)} usable run{'' if len(runs) == 1 else 's'}",
            expected="at least two models with known training FLOPs and finite accuracy",
            remedy="evaluate more models of the family",
        )
    if len(kept) < MIN_CHECKPOINTS:
        raise NotForecastableError(
            f"{ladder.family} on {ladder.task} has only {len(kept)} usable checkpoints",
            expected=f"at least {MIN_CHECKPOINTS}: any curve fits two points",
            remedy="evaluate more models of the family",
        )
    if np.ptp(kept.metrics[metric]) == 0.0:
        raise NotForecastableError(
            f"all {len(kept)} checkpoints of {ladder.family} on {ladder.task} have the same {metric},"
            f" {float(kept.metrics[metric][0]):.4g}",
            expected="accuracies that change with compute",
            remedy="check the evaluation, or add larger models",
        )
    # Within a factor of 1.5 in compute, noise decides the slope that would be extrapolated.
    if np.ptp(np.log(kept.flops)) < np.log(1.5):
        raise NotForecastableError(
            f"all checkpoints of {ladder.family} on {ladder.task} have nearly the same training FLOPs",
            expected="runs that differ in compute",
        )
    sample = _thin(kept, runs, metric)
    return Prepared(
        sample=sample,
        metric=metric,
        runs=runs,
        rows_used=len(kept),
        min_flops=float(np.min(kept.flops)),
        max_flops=float(np.max(kept.flops)),
        warnings=tuple(dict.fromkeys((*ladder.notes, *warnings))),
    )


def _possible(ladder: Ladder) -> BoolArray:
    """Rows whose numbers are plausible for a training run: a single wrong one bends every curve."""

    def number(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    rows = zip(ladder.params, ladder.tokens, ladder.flops, strict=True)
    return np.array(
        [scale_fault(params=number(n), tokens=number(d), flops=number(c), may_be_untrained=True) is None for n, d, c in rows],
        dtype=np.bool_,
    )


def _left_out(ladder: Ladder, metric: str, known: BoolArray, possible: BoolArray, early: BoolArray) -> list[str]:
    """Sentences on the checkpoints that are not fitted, each of them counted once."""
    scored = np.isfinite(ladder.metrics[metric])
    untrained = ~known & ((ladder.flops == 0) | (ladder.tokens == 0) | (ladder.step == 0))
    reasons = {
        f"no finite {metric}": ~scored,
        "parameters, tokens or FLOPs that no training run has": scored & ~possible,
        "untrained, at step 0": scored & possible & untrained,
        "no known training FLOPs": scored & possible & ~known & ~untrained,
        f"the first {EARLY_SHARE:.0%} of their run": early,
    }
    counts = {reason: int(rows.sum()) for reason, rows in reasons.items()}
    return [f"Left out: {count} of {len(ladder)} checkpoints ({reason})." for reason, count in counts.items() if count]


def _late_enough(ladder: Ladder) -> BoolArray:
    progress = np.where(np.isfinite(ladder.tokens), ladder.tokens, ladder.flops)
    model = np.array(ladder.model)
    keep = np.ones(len(ladder), dtype=np.bool_)
    for name in set(ladder.model):
        rows = model == name
        keep[rows] = progress[rows] >= EARLY_SHARE * np.nanmax(progress[rows]) if np.isfinite(progress[rows]).any() else False
    return keep


def _thin(ladder: Ladder, runs: tuple[str, ...], metric: str) -> Sample:
    """Average each run's checkpoints within bins of log C; the decayed end stays a row of its own."""
    groups: list[IntArray] = []
    owner: list[int] = []
    log_c = np.log(ladder.flops)
    model = np.array(ladder.model)
    for r, name in enumerate(runs):
        rows = np.flatnonzero(model == name)
        final = rows[ladder.is_final[rows]]
        middle = rows[~ladder.is_final[rows]]
        members = [final] if final.size else []
        if middle.size > CHECKPOINTS_PER_RUN:
            # The last edge is moved a little outwards: digitize would give the last checkpoint a bin of its own.
            edges = np.linspace(log_c[middle].min(), log_c[middle].max() + 1e-9, CHECKPOINTS_PER_RUN + 1)
            slot = np.digitize(log_c[middle], edges)
            members += [middle[slot == s] for s in np.unique(slot)]
        else:
            members += [middle[i : i + 1] for i in range(middle.size)]
        groups += members
        owner += [r] * len(members)
    run = np.array(owner, dtype=np.intp)

    def mean(column: FloatArray) -> FloatArray:
        return np.array([column[g].mean() for g in groups])

    accuracy = mean(ladder.metrics[metric])
    is_final = np.array([bool(ladder.is_final[g].all()) for g in groups])
    items = np.full(len(ladder), float(DEFAULT_ITEMS)) if ladder.n_items is None else ladder.n_items
    items = np.where(np.isfinite(items) & (items > 0), items, DEFAULT_ITEMS)
    # An accuracy of 0 or 1 would claim to have no sampling error, which no finite number of items shows.
    spread = np.clip(ladder.metrics[metric], 0.02, 0.98)
    with np.errstate(divide="ignore"):
        log_params, log_tokens = mean(np.log(ladder.params)), mean(np.log(ladder.tokens))
        return Sample(
            log_flops=mean(log_c),
            log_params=log_params,
            log_tokens=log_tokens,
            run=run,
            is_final=is_final,
            weight=_row_weights(run, is_final, log_params, log_tokens)[None, :],
            accuracy=accuracy[None, :],
            sampling_sd=mean(np.sqrt(spread * (1 - spread) / items)),
            nll={name: mean(ladder.metrics[name])[None, :] for name in NLL_METRICS if name in ladder.metrics},
            chance=ladder.chance,
            nll_metric=ladder.nll_metric,
            detail=_detail(ladder, runs, metric),
            item_correct=_item_means(ladder.items.correct.get(metric) if ladder.items else None, groups),
            item_nll={
                name: means
                for name, matrix in (ladder.items.nll.items() if ladder.items else ())
                if (means := _item_means(matrix, groups)) is not None
            },
        )


def _item_means(matrix: FloatArray | None, groups: list[IntArray]) -> FloatArray | None:
    """(M, I) means of each row's checkpoints; None when some item was not scored, for then items cannot be paired."""
    if matrix is None or matrix.size == 0 or not np.isfinite(matrix).all():
        return None
    return np.stack([matrix[g].mean(axis=0) for g in groups])


def _detail(ladder: Ladder, runs: tuple[str, ...], metric: str) -> Detail:
    run = np.array([runs.index(name) for name in ladder.model], dtype=np.intp)
    order = np.lexsort((ladder.flops, run))
    return Detail(
        run=run[order],
        log_params=np.log(ladder.params[order]),
        log_tokens=np.log(np.maximum(ladder.tokens[order], 1.0)),
        is_final=ladder.is_final[order],
        accuracy=ladder.metrics[metric][order],
        nll={name: ladder.metrics[name][order] for name in NLL_METRICS if name in ladder.metrics},
    )


MIDDLE_WEIGHT = 3.0
"""Total weight of one run's mid-schedule checkpoints, relative to a decayed end, where the ends alone are too few to fit."""
MIDDLE_WEIGHT_BESIDE_ENDS = 0.3
"""The same where the ends suffice: a mid-schedule checkpoint's learning rate has not decayed, so it only steadies the fit."""
ENDS_NEEDED = 8
"""Decayed ends from which the smaller weight is used: five parameters of a law in N and D, and some to tell errors by."""


def _row_weights(run: IntArray, is_final: BoolArray, log_params: FloatArray, log_tokens: FloatArray) -> FloatArray:
    """The decayed end of a run weighs 1; its earlier checkpoints share a weight that depends on how many ends there are."""
    # To one decimal in log: sizes or token counts within about 10 % of each other count as one. Ends suffice where they would
    # identify a law in N and D, which takes different sizes, token counts and ratios of the two.
    ends = np.round(np.stack([log_params, log_tokens], axis=1)[is_final], 1)
    enough = len(ends) >= ENDS_NEEDED and np.unique(ends[:, 0]).size >= 2 and np.unique(ends[:, 1]).size >= 3
    enough = enough and np.unique(np.round(ends[:, 1] - ends[:, 0], 1)).size >= 3
    share = MIDDLE_WEIGHT_BESIDE_ENDS if enough else MIDDLE_WEIGHT
    weight = np.ones(run.size)
    for r in np.unique(run):
        middle = (run == r) & ~is_final
        count = int(middle.sum())
        # A single mid-schedule checkpoint never outweighs a decayed end.
        weight[middle] = min(1.0, share / max(1, count))
    return weight
