"""Two families measured alike: one task, one number of shots, one FLOPs convention, one metric."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from forecast.core.errors import FitError, InputError, UsageError
from forecast.core.observations import BoolArray, FloatArray
from forecast.laws.comparison import FamilyRuns
from forecast.laws.equivalence import Path as TrainingPath
from forecast.laws.quantities import ACCURACIES, ALL, ERRORS, LOSSES
from forecast.observations.law_columns import in_order
from forecast.observations.measurements import Measurements, Notice, Selection, load_measurements


@dataclass(frozen=True, kw_only=True)
class FamilyPair:
    """Rows of both families that state the metric and FLOPs."""

    a: Measurements
    b: Measurements
    metric: str

    def runs(self) -> tuple[FamilyRuns, FamilyRuns]:
        """Both families' numbers."""
        return _family_runs(self.a, self.metric), _family_runs(self.b, self.metric)


def load_pair(
    source: Path, family_a: str, family_b: str, selection: Selection, *, metric: str | None, notice: Notice
) -> FamilyPair:
    """Read both families and check that they can be compared.

    Raises:
        UsageError: the same family twice, a metric that is neither loss nor accuracy, tasks or shots that differ, or no shared
            metric.
        InputError: FLOPs of two conventions.
        FitError: a family has no row with the metric and FLOPs.
    """
    if family_a == family_b:
        raise UsageError(f"'{family_a}' is compared with itself", expected="two families")
    if metric in ALL and metric not in (*LOSSES, *ERRORS, *ACCURACIES, "p_gold"):
        raise UsageError(f"families cannot be compared on {metric}", expected="a loss or an accuracy")
    a = load_measurements(source, replace(selection, family=family_a), notice=notice)
    b = load_measurements(source, replace(selection, family=family_b), notice=lambda _text: None)
    _check_alike(a, b)
    name = metric if metric is not None else _shared_metric(a, b)
    return FamilyPair(a=_complete(a, name), b=_complete(b, name), metric=name)


def _check_alike(a: Measurements, b: Measurements) -> None:
    if a.flops_convention != b.flops_convention:
        raise InputError(
            f"{a.family} counts FLOPs by '{a.flops_convention}', {b.family} by '{b.flops_convention}'",
            expected="one convention: their ratio would mean nothing",
            remedy="give both families' FLOPs by one convention",
        )
    if a.task != b.task:
        raise UsageError(f"{a.family} has {a.task}, {b.family} has {b.task}", remedy="choose one with `task=`")
    if a.num_fewshot != b.num_fewshot:
        raise UsageError(
            f"{a.family} was measured on {a.task} with {a.num_fewshot} shots, {b.family} with {b.num_fewshot}",
            expected="the same shots of both",
            remedy="choose `num_fewshot=`",
        )
    if set(a.members) != set(b.members):
        apart = sorted(set(a.members) ^ set(b.members))
        raise UsageError(
            f"{len(apart)} tasks of '{a.task}' are stored of one family only ({', '.join(apart[:4])})",
            expected="the same tasks of both",
            remedy="evaluate them, or compare on single tasks",
        )


def _shared_metric(a: Measurements, b: Measurements) -> str:
    """A loss that both have, else an accuracy; within a kind the card's first."""
    wanted = in_order((*LOSSES, *ACCURACIES), a.task)
    found = next((name for name in wanted if name in a.columns and name in b.columns), None)
    if found is None:
        raise UsageError(f"{a.family} and {b.family} share no metric on {a.task}")
    return found


def _complete(data: Measurements, metric: str) -> Measurements:
    y, flops = data.column(metric), data.column("flops")
    found = data.take(np.flatnonzero(np.isfinite(y) & np.isfinite(flops) & (flops > 0)).tolist())
    if len(found) == 0:
        raise FitError(f"{data.family} has no row with {metric} and FLOPs")
    return found


def _family_runs(data: Measurements, metric: str) -> FamilyRuns:
    params, tokens = sizes_of(data) or (None, None)
    items = data.columns.get("n_items")
    return FamilyRuns(
        family=data.family,
        metric=metric,
        y=data.column(metric),
        flops=data.column("flops"),
        params=params,
        tokens=tokens,
        n_items=items if items is not None and np.all(np.isfinite(items)) else None,
        chance=data.chance,
        run=data.runs,
    )


def sizes_of(data: Measurements) -> tuple[FloatArray, FloatArray] | None:
    """Parameters and tokens of all rows, None where a row does not state both."""
    column = next((name for name in ("params", "params_non_embedding") if name in data.columns), None)
    if column is None or "tokens" not in data.columns:
        return None
    params, tokens = data.column(column), data.column("tokens")
    whole = np.isfinite(params) & np.isfinite(tokens) & (params > 0) & (tokens > 0)
    return (params, tokens) if whole.all() else None


def near_path(data: Measurements, matched_at: float | None) -> BoolArray:
    """Rows that are near the tokens per parameter that families are compared at; all where none is."""
    sizes = sizes_of(data)
    if matched_at is None or sizes is None:
        return np.ones(len(data), dtype=np.bool_)
    return TrainingPath(tokens_per_param=matched_at, flops_per_param_token=1.0).near(*sizes)
