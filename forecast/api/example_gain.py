"""What examples, or reasoning, gain over compute: one family asked in two ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.errors import UsageError
from forecast.laws.bootstrap import check_level, check_replicates
from forecast.laws.example_gain import FittedGain, GainOnset, GainPoint, fit_gain
from forecast.observations.example_pair import Way, load_example_pair
from forecast.observations.measurements import Notice

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class MeasuredGain:
    """One checkpoint in both ways."""

    model: str
    flops: float
    a: float
    b: float
    gain: float
    """How much better B is: b - a, or a - b of a loss."""
    se: float | None
    """Standard error over items; None where unknown."""


@dataclass(frozen=True, kw_only=True, repr=False)
class ExampleGain:
    """The gain of one way of asking over another, against training compute."""

    family: str
    task_a: str
    shots_a: int | None
    task_b: str
    shots_b: int | None
    metric: str
    flops_convention: str
    n_items: int | None
    """Items paired; None where they are not."""
    margin: float
    level: float
    checkpoints: tuple[MeasuredGain, ...]
    shape: str
    curve: tuple[GainPoint, ...]
    at_largest: GainPoint
    probability: float
    status: str
    onset: GainOnset
    reasons: tuple[str, ...]

    @property
    def ways(self) -> tuple[str, str]:
        """The two ways, in words."""
        a, b = Way(task=self.task_a, num_fewshot=self.shots_a), Way(task=self.task_b, num_fewshot=self.shots_b)
        return a.label, b.label

    def __repr__(self) -> str:
        """The gain at the largest compute, in one line."""
        top, (a, b) = self.at_largest, self.ways
        return (
            f"<ExampleGain of {self.family}, {self.metric}: {b} over {a} gains {top.gain:.3g} ({top.lo:.3g} to {top.hi:.3g}) "
            f"at {top.flops:.3g} FLOPs; {self.status}>"
        )

    def plot(self) -> Figure:
        """Return the gain over compute as a matplotlib Figure."""
        from forecast.report.example_gain_figure import GainPicture, gain_figure

        a, b = self.ways
        picture = GainPicture(
            title=f"{self.family}: {b} over {a}",
            metric=self.metric,
            flops_convention=self.flops_convention,
            level=self.level,
            margin=self.margin,
            measured=[(row.flops, row.gain, row.se) for row in self.checkpoints],
            curve=self.curve,
            onset=self.onset,
        )
        return gain_figure(picture)


def save_gain(found: ExampleGain, path: Path) -> Path:
    """Draw a gain into a file; its suffix decides the format."""
    from forecast.report.figure_file import check_suffix, save_figure

    check_suffix(path)
    return save_figure(found.plot(), path)


def compare_examples(
    source: Path,
    family: str | None,
    *,
    task: str | None = None,
    shots: Sequence[int] | None = None,
    tasks: Sequence[str] | None = None,
    num_fewshot: int | None = None,
    metric: str | None = None,
    margin: float = 0.0,
    all_checkpoints: bool = False,
    level: float = 0.9,
    replicates: int = 1000,
    seed: int = 0,
    notice: Notice,
) -> ExampleGain:
    """Compare one family asked in two ways: two numbers of examples on `task`, or two `tasks`.

    Raises:
        UsageError: not exactly two ways, or one that was not measured.
        InputError: the two were measured under different definitions.
        FitError: fewer than two runs of different compute were measured in both ways.
    """
    check_level(level)
    check_replicates(replicates)
    if replicates == 0:
        raise UsageError("no bootstrap replicates", expected="at least 20: the interval is made of them")
    if not 0.0 <= margin < float("inf"):
        raise UsageError(f"`margin=` is {margin}", expected="a number from 0, in the metric's own unit")
    pair = load_example_pair(
        source, family, _ways(task, shots, tasks, num_fewshot), metric=metric, finals_only=not all_checkpoints, notice=notice
    )
    fitted: FittedGain = fit_gain(pair.rows, margin=margin, level=level, replicates=replicates, seed=seed)
    errors = [float(se) if se == se else None for se in pair.rows.se]
    rows = zip(pair.rows.run, pair.rows.flops, pair.level_a, pair.level_b, pair.rows.gain, errors, strict=True)
    return ExampleGain(
        family=pair.family,
        task_a=pair.a.task,
        shots_a=pair.a.num_fewshot,
        task_b=pair.b.task,
        shots_b=pair.b.num_fewshot,
        metric=pair.metric,
        flops_convention=pair.flops_convention,
        n_items=pair.n_items,
        margin=margin,
        level=level,
        checkpoints=tuple(
            MeasuredGain(model=run, flops=float(c), a=float(a), b=float(b), gain=float(g), se=se)
            for run, c, a, b, g, se in rows
        ),
        shape=fitted.shape,
        curve=fitted.curve,
        at_largest=fitted.at_largest,
        probability=fitted.probability,
        status=fitted.status,
        onset=fitted.onset,
        reasons=(*fitted.reasons, *pair.notes),
    )


def _ways(
    task: str | None, shots: Sequence[int] | None, tasks: Sequence[str] | None, num_fewshot: int | None
) -> tuple[Way, Way]:
    if (shots is None) == (tasks is None):
        raise UsageError("not exactly one of `shots=` and `tasks=`", expected="`shots=` 0,5 with `task=`, or `tasks=` A,B")
    if shots is not None:
        if task is None or num_fewshot is not None:
            raise UsageError(
                "`shots=` compares numbers of examples on one task", expected="`task=` beside it, no `num_fewshot=`"
            )
        if len(set(shots)) != 2 or len(shots) != 2:
            raise UsageError(f"`shots=` is {','.join(map(str, shots))}", expected="two different numbers, e.g. 0,5")
        return Way(task=task, num_fewshot=shots[0]), Way(task=task, num_fewshot=shots[1])
    names = list(tasks or ())
    if task is not None or len(names) != 2 or names[0] == names[1]:
        raise UsageError(f"`tasks=` is {','.join(names)}", expected="two different tasks, and no `task=`")
    return Way(task=names[0], num_fewshot=num_fewshot), Way(task=names[1], num_fewshot=num_fewshot)
