"""Compare two families on one task: how much more compute B needs to equal A."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forecast.core.errors import UsageError
from forecast.core.metrics import ACCURACY_METRICS
from forecast.laws.bootstrap import check_level, check_replicates
from forecast.laws.comparison import compare_runs, verdict
from forecast.laws.equivalence import Curve, Gain
from forecast.laws.training_lengths import TokensPerParam
from forecast.observations.family_pair import load_pair, near_path
from forecast.observations.measurements import Measurements, Notice, Selection


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison:
    """Compute-equivalent gain of A over B."""

    family_a: str
    family_b: str
    task: str
    num_fewshot: int | None
    """None: unknown."""
    metric: str
    chance: float | None
    """Accuracy of guessing, where accuracies are compared and it is known."""
    law: str
    flops_convention: str
    level: float
    """Nominal coverage of the intervals."""
    common_low: float
    common_high: float
    """Levels of the metric that both reach."""
    gain: Gain
    """At the best level that both reach, or at the one that was asked for."""
    along: tuple[Gain, ...]
    """Over the common range."""
    basis: str
    """`tokens-per-param`: both families at `matched_at` tokens per parameter, by a law of both; `compute`: by compute alone."""
    matched_at: float | None
    """Tokens per parameter at which both are compared; None where compute alone is."""
    tokens_per_param_a: TokensPerParam | None
    tokens_per_param_b: TokensPerParam | None
    compute_only: Gain | None
    """By compute alone over all rows, beside a matched gain: with it the families' training lengths count as efficiency."""
    verdict: str
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        """The gain with its interval and the verdict, in one line."""
        gain = f"{self.gain.ratio:.3g} times the compute of {self.family_a} ({self.gain.lo:.3g} to {self.gain.hi:.3g})"
        return f"<Comparison on {self.task}, {self.metric}: {self.family_b} needs {gain}; {self.verdict}>"


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparisonDrawing:
    """Curves and measurements behind a comparison."""

    curve_a: Curve
    curve_b: Curve
    data_a: Measurements
    data_b: Measurements


def compare_drawn(
    source: Path,
    family_a: str,
    family_b: str,
    selection: Selection,
    *,
    metric: str | None = None,
    at: float | None = None,
    level: float = 0.9,
    replicates: int = 1000,
    seed: int = 0,
    notice: Notice,
) -> tuple[Comparison, ComparisonDrawing]:
    """Fit both families' curves and compare them where both were measured.

    Where parameters and tokens are known and the families differ in tokens per parameter, both are compared at one number
    of them, by a law of parameters and tokens; else by compute alone, which is said.

    Raises:
        UsageError: the same family twice, an unknown metric or level.
        InputError: FLOPs of two conventions.
        FitError: no common range, or too few scales.
    """
    check_level(level)
    check_replicates(replicates)
    if at is not None and not np.isfinite(at):
        raise UsageError(f"`at=` is {at}", expected="a level of the metric that both families reach")
    pair = load_pair(source, family_a, family_b, selection, metric=metric, notice=notice)
    runs_a, runs_b = pair.runs()
    found = compare_runs(runs_a, runs_b, at=at, level=level, replicates=replicates, seed=seed)
    a = pair.a
    warnings = list(found.warnings)
    if a.flops_convention == "published":
        warnings.append("FLOPs are as published; whether both families counted alike is not known")
    comparison = Comparison(
        family_a=family_a,
        family_b=family_b,
        task=a.task,
        num_fewshot=a.num_fewshot,
        metric=pair.metric,
        chance=a.chance if pair.metric in ACCURACY_METRICS and np.isfinite(a.chance) else None,
        law=found.a.result.law.name,
        flops_convention=a.flops_convention,
        level=level,
        common_low=found.along[0].level,
        common_high=found.along[-1].level,
        gain=found.gain,
        along=found.along,
        basis="compute" if found.matched_at is None else "tokens-per-param",
        matched_at=found.matched_at,
        tokens_per_param_a=found.ratios[0],
        tokens_per_param_b=found.ratios[1],
        compute_only=found.compute_only,
        verdict=verdict(found.gain, family_a, family_b),
        warnings=tuple(dict.fromkeys(warnings)),
    )
    return comparison, ComparisonDrawing(curve_a=found.a, curve_b=found.b, data_a=pair.a, data_b=pair.b)


def draw_families(found: Comparison, drawing: ComparisonDrawing, path: Path) -> None:
    """Draw both families with their curves, the gain, and the ratio at each common level."""
    from forecast.report.comparison_figure import ComparisonPicture, FamilyPicture, draw_comparison

    def family(name: str, curve: Curve, data: Measurements) -> FamilyPicture:
        return FamilyPicture(
            name=name,
            curve=curve,
            flops=data.column("flops"),
            y=data.column(found.metric),
            errors=data.standard_errors(found.metric),
            near=near_path(data, found.matched_at),
        )

    shots = "" if found.num_fewshot is None else f" ({found.num_fewshot} shots)"
    alike = "by compute alone" if found.matched_at is None else f"at {found.matched_at:.3g} tokens per parameter"
    picture = ComparisonPicture(
        a=family(found.family_a, drawing.curve_a, drawing.data_a),
        b=family(found.family_b, drawing.curve_b, drawing.data_b),
        metric=found.metric,
        where=f"{found.task}{shots}, {alike}",
        flops_convention=found.flops_convention,
        level=found.level,
        gain=found.gain,
        along=found.along,
    )
    draw_comparison(path, picture)
