"""`forecast predict`: what a larger model will score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecast.cli.option_groups import as_command
from forecast.cli.options import (
    DEFAULT_DB,
    ChanceOption,
    DbOption,
    JsonOption,
    QuietOption,
    SeedOption,
    ShotsOption,
    split_names,
)
from forecast.cli.outputs import check_figure
from forecast.core.errors import ForecastError, PartialResultError

if TYPE_CHECKING:
    from forecast import Emergence, Prediction


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What `forecast predict` takes."""

    task: Annotated[str | None, typer.Option("--task", "-t", help="Benchmarks, comma-separated; all when left out.")] = None
    family: Annotated[str | None, typer.Option("--family", "-f", help="Family to fit on.")] = None
    holdout: Annotated[
        str | None, typer.Option("--holdout", help="Forecast this stored model from all others; its rows are never fitted.")
    ] = None
    flops: Annotated[float | None, typer.Option("--flops", help="Training FLOPs of the target.")] = None
    params: Annotated[float | None, typer.Option("--params", help="Parameters of the target.")] = None
    tokens: Annotated[float | None, typer.Option("--tokens", help="Training tokens of the target.")] = None
    targets: Annotated[Path | None, typer.Option("--targets", help="CSV: name, params, tokens, flops.")] = None
    method: Annotated[str, typer.Option("--method", help="auto, or one method by name.")] = "auto"
    level: Annotated[float, typer.Option("--level", help="Nominal coverage of the interval.")] = 0.9
    metric: Annotated[str | None, typer.Option("--metric", help="acc, acc_norm or acc_bytes; the card's if not said.")] = None
    num_fewshot: ShotsOption = None
    chance: ChanceOption = None
    fit_max_flops: Annotated[float | None, typer.Option("--fit-max-flops", help="Fit on at most so much compute.")] = None
    plot: Annotated[
        Path | None,
        typer.Option("--plot", callback=check_figure, help="Draw both steps: .png, .svg or .pdf."),
    ] = None
    table: Annotated[Path | None, typer.Option("--table", help="Read a CSV or Parquet table instead of --db.")] = None
    recipe_shift: Annotated[
        float, typer.Option("--recipe-shift", help="What another recipe may move the target by, e.g. 0.02 for two points.")
    ] = 0.0
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="Other families to lend strength, comma-separated, or all, or none; if not said, where own runs are too few.",
        ),
    ] = None
    reference_table: Annotated[
        Path | None, typer.Option("--reference-table", help="CSV or Parquet table with more families for --reference.")
    ] = None
    emergence: Annotated[bool, typer.Option("--emergence", help="Say at which compute accuracy leaves chance.")] = False
    threshold: Annotated[
        list[float] | None,
        typer.Option("--threshold", help="Also say how likely this accuracy (0 to 1) is exceeded; repeatable."),
    ] = None
    save: Annotated[bool, typer.Option("--save", help="Store the forecasts in --db, to be scored when the truth is known.")] = (
        False
    )
    db: DbOption = DEFAULT_DB
    json: JsonOption = False
    quiet: QuietOption = False
    seed: SeedOption = 0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(as_command(predict, PredictOptions))


def predict(options: PredictOptions) -> None:
    """Forecast benchmark accuracy of larger models, with an interval and a verdict."""
    from forecast.api.predict import check_saving, save_predictions
    from forecast.api.predict import predict as run
    from forecast.api.target_tables import read_targets
    from forecast.api.verbs import emergence_of
    from forecast.cli.console import open_progress, stderr_console
    from forecast.core.forecasts import Target, check_threshold

    thresholds = list(dict.fromkeys(options.threshold or ()))
    for accuracy in thresholds:
        check_threshold(accuracy)
    wanted = read_targets(options.targets) if options.targets is not None else []
    if options.flops is not None or options.params is not None or options.tokens is not None:
        wanted.append(Target(name="target", params=options.params, tokens=options.tokens, flops=options.flops))
    if options.save:
        check_saving(options.db)
    asked = split_names(options.task, "--task")
    failed: dict[str, ForecastError] = {}
    found = run(
        options.table or options.db,
        tasks=asked,
        family=options.family,
        targets=wanted,
        holdout=options.holdout,
        method=options.method,
        level=options.level,
        seed=options.seed,
        metric=options.metric,
        num_fewshot=options.num_fewshot,
        chance=options.chance,
        fit_max_flops=options.fit_max_flops,
        recipe_shift=options.recipe_shift,
        reference=split_names(options.reference, "--reference"),
        reference_table=options.reference_table,
        progress=open_progress(quiet=options.quiet or options.json),
        on_failure=failed.__setitem__,
    )
    if options.save:
        ids = save_predictions(found, options.db)
        if not (options.quiet or options.json):
            stderr_console().say(f"stored in {options.db}: {', '.join(ids)}")
    if options.plot is not None:
        _draw(found, options.plot, options.quiet or options.json)
    # Last, so that a reader who goes away early leaves the forecasts stored and drawn.
    several = len(found) > 1 or len(asked or ()) > 1
    _render(
        found,
        {entry.forecast.task: emergence_of(entry, seed=options.seed) for entry in found} if options.emergence else {},
        json=options.json,
        several=several,
        thresholds=thresholds,
    )
    if failed:
        text = "; ".join(f"{name}: {error}" for name, error in failed.items())
        raise PartialResultError(f"{len(failed)} task(s) cannot be forecast, the others are above: {text}")


def _render(
    found: list[Prediction], emergence: dict[str, Emergence | str], *, json: bool, several: bool, thresholds: list[float]
) -> None:
    from forecast.cli.console import print_json, stdout_console, styled
    from forecast.report.forecast_table import forecast_json, forecast_table

    forecasts = [entry.forecast for entry in found]
    if json:
        plain: list[dict[str, object]] = []
        for forecast in forecasts:
            record, onset = forecast_json(forecast, thresholds=thresholds), emergence.get(forecast.task)
            if isinstance(onset, str):
                record |= {"emergence": None, "warnings": [*forecast.warnings, onset]}
            elif onset is not None:
                record["emergence"] = onset
            plain.append(record)
        print_json(plain if several else plain[0])
        return
    console = stdout_console()
    console.print(forecast_table(forecasts, thresholds=thresholds))
    for forecast in forecasts:
        lines = [*forecast.reasons, *forecast.warnings]
        if forecast.task in emergence:
            onset = emergence[forecast.task]
            lines.append(onset if isinstance(onset, str) else onset.sentence)
        if lines:
            console.say(styled(f"{forecast.task}, {forecast.target.name}:", "bold"), " ".join(lines))


def _draw(found: list[Prediction], plot: Path, quiet: bool) -> None:
    from forecast.cli.console import stderr_console
    from forecast.report.forecast_figure import draw_forecast

    for entry in found:
        path = plot
        if len(found) > 1:
            path = plot.with_name(
                f"{plot.stem}-{entry.forecast.task}-{entry.forecast.target.name}{plot.suffix}".replace("/", "_")
            )
        draw_forecast(entry.fitted, entry.forecast, path, held_out=entry.held_out)
        if not quiet:
            stderr_console().say(f"drawn: {path}")
