"""Every figure, drawn with every kind of content: all its text lies on the canvas, and nothing lies on text."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from forecast.api.optimal import find_optimum
from forecast.core.distribution import Distribution
from forecast.core.forecasts import (
    BacktestSummary,
    Curve,
    FittedOn,
    Forecast,
    ForecastCurves,
    IntervalEstimate,
    Target,
    Verdict,
)
from forecast.core.metrics import METRICS, MetricKind
from forecast.core.observations import Ladder
from forecast.laws import get_law
from forecast.observations.measurements import Selection
from forecast.report import backtest_figure, figure_file, forecast_figure, optimal_figure
from forecast.report.backtest_figure import draw_backtest
from forecast.report.forecast_figure import draw_forecast
from forecast.report.optimal_figure import draw_optimal

LONG = "a-benchmark-with-a-name-that-nobody-can-remember " * 4
NAMES = ("quiz", LONG, "x" * 300, "cost $x_{1$ 100 %", "two\nlines \x1b[31m\u202e", "模型 😀", "_hidden", "")
Draw = Callable[..., Figure]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[Path], object]], Figure]:
    """Let something draw into a file, and return the figure that was written."""
    seen: list[Figure] = []

    def keep(figure: Figure, path: Path) -> Path:
        seen.append(figure)
        return path

    for module in (backtest_figure, forecast_figure, optimal_figure):
        monkeypatch.setattr(module, "save_figure", keep)

    def run(work: Callable[[Path], object]) -> Figure:
        work(tmp_path / "figure.png")
        return seen[-1]

    return run


def check(figure: Figure) -> None:
    """All text is on the canvas, panels keep apart, and legends lie on no text."""
    canvas = FigureCanvasAgg(figure)
    with figure_file.without_font_warnings():
        canvas.draw()
    renderer = canvas.get_renderer()
    page = Bbox.from_extents(-1, -1, figure.bbox.width + 1, figure.bbox.height + 1)

    def inside(box: Bbox, what: str) -> None:
        assert page.x0 <= box.x0, f"{what} leaves the canvas on the left"
        assert page.y0 <= box.y0, f"{what} leaves the canvas below"
        assert box.x1 <= page.x1, f"{what} leaves the canvas on the right"
        assert box.y1 <= page.y1, f"{what} leaves the canvas above"

    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend() is not None)]
    panels: list[Bbox] = []
    others: list[Bbox] = []
    for axes in figure.axes:
        whole = axes.get_tightbbox(renderer)
        assert whole is not None
        inside(whole, "a panel with its labels")
        panels.append(whole)
        for axis in (axes.xaxis, axes.yaxis):
            labelled = axis.get_tightbbox(renderer)
            if axes.axison and labelled is not None:
                others.append(labelled)
        others.append(axes.title.get_window_extent(renderer))
    title = figure._suptitle  # type: ignore[attr-defined]  # matplotlib has no public way to it before 3.8
    if title is not None:
        inside(title.get_window_extent(renderer), "the title")
        others.append(title.get_window_extent(renderer))
    for legend in legends:
        box = legend.get_window_extent(renderer)
        inside(box, "a legend")
        for other in others:
            assert other.width == 0 or not overlap(box, other), "a legend lies on text"
        for text in legend.findobj(Text):
            inside(text.get_window_extent(renderer), f"the legend's text {text.get_text()!r}")
    for one, two in itertools.combinations(panels, 2):
        assert not overlap(one, two), "two panels overlap"
    if title is not None:
        for panel in panels:
            assert not overlap(title.get_window_extent(renderer), panel), "the title lies on a panel"


def overlap(one: Bbox, two: Bbox) -> bool:
    shared = Bbox.intersection(one, two)
    return shared is not None and shared.width > 1 and shared.height > 1


def make_ladder(*, metric: str, smooth: str | None, name: str = "quiz", low: float = 1e18, high: float = 1e21) -> Ladder:
    flops = np.geomspace(low, high, 8)
    share = np.linspace(0.0, 1.0, 8)
    metrics = {metric: 0.25 + 0.4 * share}
    if smooth is not None:
        metrics[smooth] = 0.3 + 0.5 * share if smooth == "p_gold" else 2.0 - 1.2 * share
    return Ladder(
        family=name,
        task=name,
        model=tuple(f"m{i}" for i in range(8)),
        params=np.sqrt(flops / 120),
        tokens=20 * np.sqrt(flops / 120),
        flops=flops,
        step=np.full(8, np.nan),
        is_final=np.arange(8) % 2 == 0,
        metrics=metrics,
        n_items=np.full(8, 500.0),
        chance=0.25,
    )


def make_forecast(
    ladder: Ladder, *, metric: str, smooth: str | None, name: str = "quiz", target: float = 1e23, truth: float | None = None
) -> Forecast:
    x = np.geomspace(ladder.flops[0], target, 50)
    share = np.linspace(0.0, 1.2, 50)

    def curve(x: np.ndarray, y: np.ndarray, width: float) -> Curve:
        return Curve(x=x, y=y, bands={b: (y - width * b, y + width * b) for b in (0.5, 0.8, 0.9)})

    values = None if smooth is None else (0.3 + 0.5 * share if smooth == "p_gold" else 2.0 - 1.2 * share)
    return Forecast(
        task=name,
        family=name,
        target=Target(name=name, flops=target),
        level=0.9,
        nll=None
        if values is None or smooth is None
        else IntervalEstimate(metric=smooth, point=float(values[-1]), lo=float(values[-1]) - 0.1, hi=float(values[-1]) + 0.1),
        accuracy=IntervalEstimate(metric=metric, point=0.73, lo=0.66, hi=0.8),
        method="auto",
        verdict=Verdict.NOT_PREDICTABLE,
        reasons=(),
        backtest=BacktestSummary(origins=0, mae=None, persistence_mae=None, coverage=None),
        fitted_on=FittedOn(n_checkpoints=8, n_runs=8, min_flops=float(ladder.flops[0]), max_flops=float(ladder.flops[-1])),
        curves=ForecastCurves(
            nll_of_flops=None if values is None else curve(x, values, 0.1),
            accuracy_of_nll=None if values is None else curve(values, 0.25 + 0.4 * share, 0.05),
            accuracy_of_flops=curve(x, 0.25 + 0.4 * share, 0.05),
        ),
        truth=truth,
    )


ACCURACIES = [metric.name for metric in METRICS if metric.kind is MetricKind.ACCURACY]
SMOOTH = [None, *(metric.name for metric in METRICS if metric.kind is not MetricKind.ACCURACY)]


@pytest.mark.parametrize(("metric", "smooth"), list(zip(itertools.cycle(ACCURACIES), SMOOTH, strict=False)))
def test_a_forecast_of_any_metric_fits(drawn: Draw, metric: str, smooth: str | None) -> None:
    ladder = make_ladder(metric=metric, smooth=smooth)
    forecast = make_forecast(ladder, metric=metric, smooth=smooth)
    figure = drawn(lambda path: draw_forecast(ladder, forecast, path))
    assert len(figure.axes) == (1 if smooth is None else 3)
    check(figure)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("smooth", [None, "nll_per_char"])
def test_a_forecast_of_any_name_fits(drawn: Draw, name: str, smooth: str | None) -> None:
    ladder = make_ladder(metric="acc", smooth=smooth, name=name)
    truth = replace(ladder, family=name)
    forecast = make_forecast(ladder, metric="acc", smooth=smooth, name=name, truth=0.7)
    check(drawn(lambda path: draw_forecast(ladder, forecast, path, held_out=truth.take(np.array([7])))))


@pytest.mark.parametrize(("low", "high", "target"), [(1e20, 3e20, 4e20), (1e3, 1e26, 1e30), (1e20, 1.6e20, 1.2e20)])
def test_any_range_of_compute_has_readable_ticks(drawn: Draw, low: float, high: float, target: float) -> None:
    ladder = make_ladder(metric="acc", smooth=None, low=low, high=high)
    figure = drawn(lambda path: draw_forecast(ladder, make_forecast(ladder, metric="acc", smooth=None, target=target), path))
    check(figure)
    [axes] = figure.axes
    shown = [
        tick.label1.get_window_extent()
        for tick in (*axes.xaxis.get_major_ticks(), *axes.xaxis.get_minor_ticks())
        if tick.label1.get_text() and axes.get_xlim()[0] <= tick.get_loc() <= axes.get_xlim()[1]
    ]
    assert len(shown) >= 2
    for one, two in itertools.combinations(shown, 2):
        assert not overlap(one, two), "two tick labels overlap"


def test_a_skewed_distribution_is_drawn_and_a_symmetric_one_is_not(drawn: Draw) -> None:
    ladder = make_ladder(metric="acc", smooth=None)
    plain = make_forecast(ladder, metric="acc", smooth=None, target=float(2 * ladder.flops[-1]))
    even = Distribution.from_student(0.5, 0.03, 5)
    tail = Distribution.mixture([Distribution.from_student(0.27, 0.01, 5), Distribution.from_student(0.6, 0.2, 5)], [0.7, 0.3])
    for expected, shown in ((even, False), (tail, True), (Distribution.from_samples([0.25]), False)):
        figure = drawn(lambda path, expected=expected: draw_forecast(ladder, replace(plain, distribution=expected), path))
        check(figure)
        assert ("probability (square root)" in figure.axes[0].get_legend_handles_labels()[1]) is shown


def test_the_truth_is_drawn_above_the_forecast(drawn: Draw) -> None:
    ladder = make_ladder(metric="acc", smooth=None)
    forecast = make_forecast(ladder, metric="acc", smooth=None, target=float(ladder.flops[-1]), truth=0.65)
    figure = drawn(lambda path: draw_forecast(ladder, forecast, path, held_out=ladder.take(np.array([7]))))
    order = {line.get_marker(): line.get_zorder() for line in figure.axes[0].lines}
    assert order["*"] > order["D"]


def test_a_probability_rises_to_the_right_and_is_in_percent(drawn: Draw) -> None:
    ladder = make_ladder(metric="acc", smooth="p_gold")
    figure = drawn(lambda path: draw_forecast(ladder, make_forecast(ladder, metric="acc", smooth="p_gold"), path))
    low, high = figure.axes[1].get_xlim()
    assert 20 < low < high < 100
    falling = make_ladder(metric="acc", smooth="nll_per_char")
    figure = drawn(lambda path: draw_forecast(falling, make_forecast(falling, metric="acc", smooth="nll_per_char"), path))
    low, high = figure.axes[1].get_xlim()
    assert low > high


@pytest.mark.parametrize("methods", [1, 3, 12])
@pytest.mark.parametrize("title", ["Rolling-origin back-test of fam on 3 tasks", LONG * 3, "$\\frac$"])
def test_a_backtest_fits(drawn: Draw, methods: int, title: str) -> None:
    rng = np.random.default_rng(0)
    edges, levels = np.array([1.0, 2.0, 4.0, 8.0, 16.0]), np.array([0.5, 0.8, 0.9, 0.95])
    names = ["auto", *(f"a-method-called-{i}" for i in range(methods - 1))]
    errors = {name: rng.uniform(0.0, 0.1, 4) for name in names}
    coverage = {name: levels - rng.uniform(0.0, 0.1, 4) for name in names}
    check(drawn(lambda path: draw_backtest(edges, errors, levels, coverage, path, title=title)))


@pytest.mark.parametrize(("seen", "budgets"), [(40, [1e22]), (40, [1e22, 1e24, 1e26]), (0, [1e22])])
def test_compute_optimal_training_fits(drawn: Draw, tmp_path: Path, seen: int, budgets: list[float]) -> None:
    law = get_law("chinchilla")
    theta = law.vector({"A": 400.0, "B": 400.0, "E": 1.7, "alpha": 0.34, "beta": 0.34})
    lines = ["family,model,task,params,tokens,flops,loss"]
    for i, c in enumerate(np.geomspace(1e18, 1e21, 10 if seen else 2)):
        for j, factor in enumerate(np.geomspace(0.3, 3.3, 7)):
            n = np.sqrt(c / 6) * factor
            loss = float(law.predict(np.array([[n, c / (6 * n)]]), theta)[0])
            lines.append(f"f,m{i}-{j},text,{n:.8e},{c / (6 * n):.8e},{c:.8e},{loss:.8f}")
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    _, drawing = find_optimum(path, Selection(), budgets, replicates=0, notice=lambda _text: None)
    runs = drawing.runs
    assert runs is not None
    check(
        drawn(
            lambda where: draw_optimal(
                where,
                runs=runs,
                metric=drawing.metric,
                envelope=drawing.envelope if seen else None,
                parabolas=drawing.parabolas if seen else (),
                fit=drawing.fit if seen else None,
                frontiers=drawing.frontiers,
                budgets=budgets,
            )
        )
    )


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_written_in_every_format(tmp_path: Path, name: str, suffix: str) -> None:
    ladder = make_ladder(metric="acc", smooth=None, name=name)
    path = draw_forecast(ladder, make_forecast(ladder, metric="acc", smooth=None, name=name), tmp_path / f"figure{suffix}")
    assert path.stat().st_size > 5_000
