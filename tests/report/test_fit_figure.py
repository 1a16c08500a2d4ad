"""A fit's figure: all text inside the canvas, curves over the whole fitted range, bands that hold them, errors where known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from matplotlib.figure import Figure

from forecast.core.errors import UsageError
from forecast.laws import FitResult, LeastSquares, fit, get_law
from forecast.laws.bootstrap import bootstrap
from forecast.report import fit_figure
from forecast.report.fit_figure import FitPicture, band_of, draw_fit

Caught = Callable[[ModuleType], list[Figure]]
Check = Callable[[Figure], Sequence[object]]

HOSTILE = "[red]a family of $5_000 and $6^n with a name that goes on and on_" + "x" * 90
LAWS = (
    "power-law-offset",
    "chinchilla",
    "gadre-loss",
    "cortes",
    "sigmoid",
    "deepseek-lr",
    "hernandez-transfer",
    "accuracy-scale",
)


def _fitted(name: str, rows: int = 18) -> FitResult:
    law, rng = get_law(name), np.random.default_rng(0)
    columns = []
    for entry in law.inputs:
        low, high = entry.typical
        columns.append(np.geomspace(low, high, rows) if entry.positive else np.linspace(low, high, rows))
    if name == "cortes":
        columns[1] = np.tile([0.0, 1.0], rows)[:rows]
    elif len(columns) == 2:
        columns[1] = rng.permutation(columns[1])
    x = np.stack(columns, axis=-1)
    y = law.predict(x, law.vector(law.typical)) * np.exp(0.002 * rng.standard_normal(rows))
    return fit(law, x, y, loss=LeastSquares())


def _draw(path: Path, result: FitResult, where: str = "f on t", **changes: object) -> None:
    settings: dict[str, object] = {
        "columns": {entry.name: entry.name for entry in result.law.inputs},
        "y": result.law.outputs[0],
        "errors": 0.01 * result.points.y,
        "level": 0.9,
        "constants": [f"{name} = {value:.4g} ± 1.5" for name, value in result.params.items()],
        "flops_convention": "6nd-total",
        "where": where,
    }
    draw_fit(path, result, None, FitPicture(**settings | changes))  # type: ignore[arg-type]


def _legend(figure: Figure) -> list[str]:
    return [entry.get_text() for legend in figure.legends for entry in legend.get_texts()]


@pytest.mark.parametrize("name", LAWS)
def test_all_text_is_inside_and_apart_and_curves_span_the_measurements(
    tmp_path: Path, caught: Caught, outside: Check, overlapping: Check, name: str
) -> None:
    figures, result = caught(fit_figure), _fitted(name)
    _draw(tmp_path / "fit.png", result, where=HOSTILE)
    (figure,) = figures
    assert outside(figure) == []
    assert overlapping(figure) == []
    assert (tmp_path / "fit.png").stat().st_size > 10_000
    for axes in figure.axes:
        curves = [line for line in axes.lines if len(line.get_xdata()) > 100]
        marks = np.concatenate([line.get_xdata() for line in axes.lines if line.get_linestyle() == "None"])
        for curve in curves:
            x = np.asarray(curve.get_xdata(), dtype=float)
            assert x.min() == pytest.approx(marks.min())
            assert x.max() == pytest.approx(marks.max())
    assert any("± standard error" in " ".join(text.split()) for text in _legend(figure))
    assert [text for text in _legend(figure) if text.startswith(f"{result.law.names[0]} = ")]


def test_a_law_of_parameters_and_tokens_is_drawn_against_compute_and_others_in_two_panels(
    tmp_path: Path, caught: Caught
) -> None:
    figures = caught(fit_figure)
    for name in ("chinchilla", "gadre-loss", "cortes"):
        _draw(tmp_path / f"{name}.svg", _fitted(name))
    joint, two, flagged = figures
    assert "6 N D" in joint.axes[0].get_xlabel()
    assert joint.axes[0].get_xscale() == "log"
    assert joint.axes[0].get_ylabel() == "loss on general text (nats per token)"
    assert sum("tokens per parameter" in text for text in _legend(joint)) == 3
    assert two.axes[0].get_xlabel() == "training compute (FLOPs, 6nd-total)"
    assert len(two.axes) == 2
    assert len(flagged.axes) == 1


def test_accuracy_is_in_percent_and_better_is_to_the_right(tmp_path: Path, caught: Caught) -> None:
    figures, result = caught(fit_figure), _fitted("sigmoid")
    _draw(tmp_path / "sigmoid.pdf", result, columns={"nll": "nll_per_char"})
    axes = figures[0].axes[0]
    assert axes.get_ylabel() == "accuracy (%)"
    assert axes.xaxis_inverted()
    marks = next(line for line in axes.lines if line.get_linestyle() == "None")
    assert np.allclose(marks.get_ydata(), 100 * result.points.y)


def test_bands_hold_the_curve_and_widen_with_the_level() -> None:
    result = _fitted("power-law-offset")
    drawn = bootstrap(result, replicates=100, seed=0)
    x = np.geomspace(1e18, 1e21, 7)[:, None]
    for replicates in (None, drawn):
        low, high = band_of(result, replicates, x, 0.9)
        wider = band_of(result, replicates, x, 0.99)
        assert np.all((low <= result.predict(x)) & (result.predict(x) <= high))
        assert np.all((wider[0] <= low) & (high <= wider[1]))
        assert np.all(low > 0)


def test_unknown_errors_draw_no_bars_and_unidentified_constants_are_said(tmp_path: Path, caught: Caught) -> None:
    figures, result = caught(fit_figure), _fitted("power-law-offset", rows=2)
    assert not result.identified
    _draw(tmp_path / "few.png", result, errors=np.full(2, np.nan), constants=["E: not identified"])
    said = [" ".join(text.split()) for text in _legend(figures[0])]
    assert "measured" in said
    assert "E: not identified" in said
    assert any("some constants are not identified" in text for text in said)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot draw"):
        _draw(tmp_path / "fit.txt", _fitted("power-law"))
