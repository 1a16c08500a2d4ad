"""Forecasts as a table for the terminal and as the documented JSON."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from forecast.core.forecasts import Forecast, IntervalEstimate, Verdict

_COLOURS = {Verdict.PREDICTABLE: "green", Verdict.UNCERTAIN: "yellow", Verdict.NOT_PREDICTABLE: "red"}


def forecast_table(forecasts: Sequence[Forecast], *, thresholds: Sequence[float] = ()) -> Table:
    """Return one line per forecast, accuracies in per cent; with thresholds also the probabilities of exceeding them."""
    level = forecasts[0].level if forecasts else 0.9
    known = any(forecast.truth is not None for forecast in forecasts)
    table = Table(title=None, header_style="bold")
    for name in ("task", "metric"):
        table.add_column(name)
    for name in ("shots", "chance %"):
        table.add_column(name, justify="right")
    for name in ("target", "FLOPs"):
        table.add_column(name)
    above = [f"P(> {100 * x:g} %)" for x in thresholds]
    for name in ("NLL", "accuracy %", f"{level:.0%} interval", *above, *(("truth %",) if known else ())):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for forecast in forecasts:
        accuracy = forecast.accuracy
        cells: list[str | Text] = [
            forecast.task,
            accuracy.metric,
            "?" if forecast.num_fewshot is None else str(forecast.num_fewshot),
            "?" if forecast.chance is None else f"{100 * forecast.chance:.1f}",
            forecast.target.name,
            "" if forecast.target.flops is None else f"{forecast.target.flops:.2e}",
            "" if forecast.nll is None else f"{forecast.nll.point:.3f} {forecast.nll.metric}",
            f"{100 * accuracy.point:.1f}",
            f"{100 * accuracy.lo:.1f} to {100 * accuracy.hi:.1f}",
            *(_probability(forecast.probability_above(x)) for x in thresholds),
        ]
        if known:
            cells.append("" if forecast.truth is None else f"{100 * forecast.truth:.1f}")
        cells.append(Text(forecast.verdict.value, style=_COLOURS[forecast.verdict]))
        table.add_row(*cells)
    return table


def _probability(p: float) -> str:
    """In per cent; what rounds to none or all is said to be less or more than that.

    >>> _probability(0.0004), _probability(0.123), _probability(0.9999), _probability(0.0)
    ('< 0.1 %', '12.3 %', '> 99.9 %', '0 %')
    """
    if p in (0.0, 1.0):
        return f"{100 * p:.0f} %"
    return "< 0.1 %" if p < 0.001 else "> 99.9 %" if p > 0.999 else f"{100 * p:.1f} %"


def forecast_json(forecast: Forecast, *, thresholds: Sequence[float] = ()) -> dict[str, object]:
    """Return the object that `predict --json` prints (DESIGN: its keys are a contract).

    One threshold gives one `probability_above`, several give a list, and none leaves the key out.
    """
    above = [{"threshold": x, "probability": forecast.probability_above(x)} for x in thresholds]

    def interval(estimate: IntervalEstimate) -> dict[str, object]:
        return {"metric": estimate.metric, "point": estimate.point, "lo": estimate.lo, "hi": estimate.hi}

    target, summary, fitted = forecast.target, forecast.backtest, forecast.fitted_on
    return {
        "task": forecast.task,
        "family": forecast.family,
        "target": {"name": target.name, "params": target.params, "tokens": target.tokens, "flops": target.flops},
        "level": forecast.level,
        "nll": None if forecast.nll is None else interval(forecast.nll),
        "accuracy": interval(forecast.accuracy),
        "method": forecast.method,
        "metric": forecast.accuracy.metric,
        "num_fewshot": forecast.num_fewshot,
        "chance": forecast.chance,
        "references": list(forecast.references),
        "without_references": None if forecast.without_references is None else interval(forecast.without_references),
        "verdict": forecast.verdict.value,
        "reasons": list(forecast.reasons),
        "backtest": {
            "origins": summary.origins,
            "mae": summary.mae,
            "persistence_mae": summary.persistence_mae,
            "coverage": summary.coverage,
        },
        "other_tasks": summary.other_tasks,
        "fitted_on": {
            "n_checkpoints": fitted.n_checkpoints,
            "n_runs": fitted.n_runs,
            "min_flops": fitted.min_flops,
            "max_flops": fitted.max_flops,
        },
        "warnings": list(forecast.warnings),
        "quantiles": {f"{p:g}": q for p, q in forecast.quantiles.items()},
        "truth": forecast.truth,
        **({"probability_above": above[0] if len(above) == 1 else above} if above else {}),
    }
