"""A comparison's figure: both families, the gain where it was found, and nothing cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from matplotlib.figure import Figure

from forecast.laws import LeastSquares, get_law
from forecast.laws.equivalence import fit_curve, gain_at, gain_curve
from forecast.report import comparison_figure
from forecast.report.comparison_figure import ComparisonPicture, FamilyPicture, draw_comparison

Caught = Callable[[ModuleType], list[Figure]]
Check = Callable[[Figure], Sequence[object]]
LONG = "_a family of $5 and $6 [bold] " + "with a long name " * 6


def _family(name: str, efficiency: float, seed: int) -> FamilyPicture:
    flops = np.geomspace(1e18, 1e21, 9)
    y = 1.7 + 40.0 * (efficiency * flops) ** -0.08 * np.exp(0.002 * np.random.default_rng(seed).standard_normal(9))
    curve = fit_curve(
        get_law("power-law-offset"),
        flops,
        y,
        loss=LeastSquares(),
        runs=list(range(9)),
        fixed={},
        soft={},
        replicates=60,
        seed=seed,
    )
    near = np.arange(9) % 2 == 0
    return FamilyPicture(name=name, curve=curve, flops=flops, y=y, errors=np.full(9, 0.01), near=near)


@pytest.fixture(scope="module")
def picture() -> ComparisonPicture:
    a, b = _family("swift", 3.0, 0), _family("slow", 1.0, 1)
    along = gain_curve(a.curve, b.curve, confidence=0.9)
    return ComparisonPicture(
        a=a,
        b=b,
        metric="loss",
        where="text, at 20 tokens per parameter",
        flops_convention="6nd-total",
        level=0.9,
        gain=gain_at(a.curve, b.curve, along[1].level, confidence=0.9),
        along=along,
    )


@pytest.mark.parametrize("name", ["slow", LONG])
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_all_text_is_inside_and_apart(
    tmp_path: Path,
    caught: Caught,
    picture: ComparisonPicture,
    outside: Check,
    overlapping: Check,
    name: str,
    suffix: str,
) -> None:
    figures = caught(comparison_figure)
    path = draw_comparison(tmp_path / f"gain.{suffix}", replace(picture, b=replace(picture.b, name=name)))
    assert path.stat().st_size > 5_000
    assert outside(figures[0]) == []
    assert overlapping(figures[0]) == []


def test_the_gain_is_marked_at_its_level_and_curves_end_with_the_measurements(
    tmp_path: Path, caught: Caught, picture: ComparisonPicture
) -> None:
    figures = caught(comparison_figure)
    draw_comparison(tmp_path / "gain.png", picture)
    left, right = figures[0].axes
    marked = next(line for line in left.lines if "gain" in str(line.get_label()))
    assert list(marked.get_xdata()) == [picture.gain.flops_a, picture.gain.flops_b]
    assert set(marked.get_ydata()) == {picture.gain.level}
    curve = next(line for line in left.lines if str(line.get_label()) == "curve of swift")
    assert (min(curve.get_xdata()), max(curve.get_xdata())) == (picture.a.curve.low, picture.a.curve.high)
    assert left.get_xscale() == "log"
    assert right.get_ylabel().replace("\n", " ").startswith("compute of slow / compute of swift")


def test_intervals_without_an_end_run_out_of_the_panel(tmp_path: Path, caught: Caught, picture: ComparisonPicture) -> None:
    figures = caught(comparison_figure)
    endless = [replace(gain, lo=0.0, hi=float("inf")) for gain in picture.along]
    draw_comparison(tmp_path / "gain.png", replace(picture, along=endless))
    right = figures[0].axes[1]
    bottom, top = right.get_ylim()
    ends = np.concatenate([path.vertices[:, 1] for bar in right.collections for path in bar.get_paths()])
    assert ends.min() < bottom
    assert ends.max() > top
    assert top < 100
