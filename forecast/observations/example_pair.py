"""One family asked in two ways: with two numbers of examples, or on two tasks; checkpoint by checkpoint, item by item."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forecast.core.errors import InputError, UsageError
from forecast.core.metrics import ACCURACY_METRICS, BY_NAME
from forecast.core.observation_rows import Notice
from forecast.core.observations import FloatArray, Ladder
from forecast.laws.example_gain import PairedRows
from forecast.observations.ladders import Wanted, load_ladders
from forecast.observations.task_groups import checkpoint_rows

Rows = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of asking."""

    task: str
    num_fewshot: int | None

    @property
    def label(self) -> str:
        """Task and shots."""
        return self.task if self.num_fewshot is None else f"{self.task} ({self.num_fewshot} shots)"


@dataclass(frozen=True, kw_only=True, eq=False)
class ExamplePair:
    """A family's checkpoints that were measured in both ways."""

    family: str
    a: Way
    b: Way
    metric: str
    flops_convention: str
    level_a: FloatArray
    level_b: FloatArray
    rows: PairedRows
    n_items: int | None
    """Paired items; None where they are not paired."""
    notes: tuple[str, ...]


def load_example_pair(
    source: Path, family: str | None, ways: tuple[Way, Way], *, metric: str | None, finals_only: bool, notice: Notice
) -> ExamplePair:
    """Read both ways and pair what they share.

    Raises:
        UsageError: a way that was not measured, or no metric of both.
        InputError: the two were measured under different definitions.
        NotForecastableError: nothing is stored.
    """
    a, b = (_ladder(source, family, way) for way in ways)
    for note in dict.fromkeys((*a.notes, *b.notes)):
        notice(note)
    notes: list[str] = []
    limits = _check_definitions(a, b)
    name = metric or _shared_metric(a, b)
    _check_metric(name, a, b)
    where_a, where_b = checkpoint_rows(a), checkpoint_rows(b)
    shared = [key for key in where_a if key in where_b]
    ia = np.array([where_a[key] for key in shared], dtype=np.intp)
    ib = np.array([where_b[key] for key in shared], dtype=np.intp)
    usable = np.isfinite(a.flops[ia]) & (a.flops[ia] > 0) & np.isfinite(a.metrics[name][ia]) & np.isfinite(b.metrics[name][ib])
    if finals_only:
        usable &= a.is_final[ia]
    ia, ib = ia[usable], ib[usable]
    left_out = len({*where_a, *where_b}) - len(shared)
    if left_out:
        notes.append(f"{left_out} checkpoints were measured in one way only, and are left out.")
    if len(ia) == 0:
        raise UsageError(
            f"no checkpoint of {a.family} with known FLOPs was measured on both {ways[0].label} and {ways[1].label}",
            remedy="evaluate the same checkpoints both ways",
        )
    sign = -1.0 if BY_NAME[name].falls else 1.0
    level_a, level_b, rows, n_items = _pair(a, b, ia, ib, name, sign, limits, notes)
    return ExamplePair(
        family=a.family,
        a=Way(task=a.task, num_fewshot=a.num_fewshot),
        b=Way(task=b.task, num_fewshot=b.num_fewshot),
        metric=name,
        flops_convention=a.flops_convention,
        level_a=level_a,
        level_b=level_b,
        rows=rows,
        n_items=n_items,
        notes=tuple(notes),
    )


def _ladder(source: Path, family: str | None, way: Way) -> Ladder:
    [ladder] = load_ladders(source, Wanted(tasks=[way.task], family=family, num_fewshot=way.num_fewshot), with_items=True)
    return ladder


def _facts(definition: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in definition.split() if "=" in part)


def _check_definitions(a: Ladder, b: Ladder) -> bool:
    """Refuse what was not measured alike; return whether only the limit of items differs."""
    if a.flops_convention != b.flops_convention:
        raise InputError(
            f"FLOPs are counted by '{a.flops_convention}' and by '{b.flops_convention}'", expected="one convention"
        )
    one, two = _facts(a.definition), _facts(b.definition)
    # Shots decide whether there is a seed; two tasks are two definitions.
    ignored = {"fewshot_seed"} if a.task == b.task else {"fewshot_seed", "task", "version"}
    apart = sorted(key for key in {*one, *two} - ignored if one.get(key) != two.get(key))
    both = sorted(key for key in ("fewshot_seed",) if {one.get(key), two.get(key)} - {None, "none", one.get(key)})
    if both and "none" not in (one.get("fewshot_seed"), two.get("fewshot_seed")):
        apart += both
    if apart and apart != ["limit"]:
        said = "; ".join(f"{key} {one.get(key, 'unknown')} and {two.get(key, 'unknown')}" for key in apart)
        raise InputError(
            f"the two were measured under different definitions: {said}",
            expected="one definition but for the examples or the task",
            remedy="evaluate both ways in one command",
        )
    return bool(apart)


def _shared_metric(a: Ladder, b: Ladder) -> str:
    def measured(ladder: Ladder) -> set[str]:
        return {name for name, column in ladder.metrics.items() if np.isfinite(column).any()}

    if a.accuracy_metric is not None and a.accuracy_metric == b.accuracy_metric:
        return a.accuracy_metric
    both = measured(a) & measured(b)
    found = next((name for name in ACCURACY_METRICS if name in both), None)
    if found is None:
        raise UsageError(f"{a.task} and {b.task} share no accuracy", remedy="name a metric of both with `metric=`")
    return found


def _check_metric(name: str, a: Ladder, b: Ladder) -> None:
    for ladder in (a, b):
        if name not in BY_NAME or name not in ladder.metrics or not np.isfinite(ladder.metrics[name]).any():
            known = sorted(key for key, column in ladder.metrics.items() if np.isfinite(column).any())
            raise UsageError(f"{ladder.task} was not measured by '{name}'", expected=f"one of {', '.join(known)}")


def _pair(
    a: Ladder, b: Ladder, ia: Rows, ib: Rows, name: str, sign: float, limits: bool, notes: list[str]
) -> tuple[FloatArray, FloatArray, PairedRows, int | None]:
    flops, run = a.flops[ia], tuple(a.model[row] for row in ia)
    level_a, level_b = a.metrics[name][ia], b.metrics[name][ib]
    cells_a, cells_b = _cells(a, name, ia), _cells(b, name, ib)
    count = min(cells_a.shape[1], cells_b.shape[1]) if cells_a is not None and cells_b is not None else 0
    alike = cells_a is not None and cells_b is not None and (limits or cells_a.shape == cells_b.shape)
    if limits and not alike:
        raise InputError("the two were limited to different numbers of items", expected="the same items both ways")
    if alike and count > 1:
        assert cells_a is not None
        assert cells_b is not None
        if limits:
            notes.append(f"The two were limited to different numbers of items; the first {count} are compared.")
        if a.task != b.task:
            notes.append("Items of the two tasks are paired by their position.")
        cells_a, cells_b = cells_a[:, :count], cells_b[:, :count]
        items = sign * (cells_b - cells_a)
        se = items.std(axis=1, ddof=1) / np.sqrt(count)
        rows = PairedRows(flops=flops, run=run, gain=items.mean(axis=1), se=se, items=items)
        return cells_a.mean(axis=1), cells_b.mean(axis=1), rows, count
    notes.append("Items are not paired: the standard error of a difference is that of two independent measurements.")
    se = np.hypot(_errors(a, name, ia), _errors(b, name, ib))
    if not np.isfinite(se).all():
        notes.append("Some standard errors are unknown: the intervals hold the differences between runs only.")
    return level_a, level_b, PairedRows(flops=flops, run=run, gain=sign * (level_b - level_a), se=se), None


def _cells(ladder: Ladder, name: str, rows: Rows) -> FloatArray | None:
    if ladder.items is None:
        return None
    found = ladder.items.correct.get(name, ladder.items.nll.get(name))
    if found is None or not np.isfinite(found[rows]).all() or not np.allclose(found[rows].mean(1), ladder.metrics[name][rows]):
        return None
    return found[rows]


def _errors(ladder: Ladder, name: str, rows: Rows) -> FloatArray:
    errors = ladder.sems[name][rows] if name in ladder.sems else np.full(len(rows), np.nan)
    if BY_NAME[name].is_accuracy and ladder.n_items is not None:
        y = ladder.metrics[name][rows]
        errors = np.where(np.isfinite(errors), errors, np.sqrt(np.clip(y * (1 - y), 0, None) / ladder.n_items[rows]))
    return errors
