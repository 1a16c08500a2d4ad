"""`forecast fit LAW`: constants of any law, with their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import forecast
from forecast.cli.assignments import parse_assignments, parse_fixed, parse_soft
from forecast.cli.option_groups import as_command
from forecast.cli.options import DEFAULT_DB, DbOption, JsonOption, QuietOption, SeedOption
from forecast.cli.outputs import check_figure

if TYPE_CHECKING:
    from forecast.api.fit import Constant, FitReport, FitRequest, FittedLaw

TableOption = Annotated[
    Path | None, typer.Option("--table", "--csv", help="Read a CSV, CSV.gz or Parquet table instead of --db.")
]
FamilyOption = Annotated[str | None, typer.Option("--family", "-f", help="Family to fit on.")]
TaskOption = Annotated[str | None, typer.Option("--task", "-t", help="Benchmark or text set to fit on.")]
WhereOption = Annotated[
    list[str] | None, typer.Option("--where", help="COLUMN=VALUE that rows of the table must have; repeatable.")
]


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """What `forecast fit` takes."""

    law: Annotated[str, typer.Argument(help="Name of a law; leave out to list all.")] = ""
    table: TableOption = None
    family: FamilyOption = None
    task: TaskOption = None
    where: WhereOption = None
    y: Annotated[str | None, typer.Option("--y", "--metric", help="Column to predict, e.g. loss, acc_norm, error.")] = None
    x: Annotated[list[str] | None, typer.Option("--x", help="INPUT=COLUMN where names differ; repeatable.")] = None
    loss: Annotated[
        str, typer.Option("--loss", help="least-squares, huber[:DELTA], soft-l1[:DELTA], binomial, beta-binomial.")
    ] = ""
    space: Annotated[
        str | None, typer.Option("--space", help="Residuals in log or linear space; the law's own if not said.")
    ] = None
    fix: Annotated[list[str] | None, typer.Option("--fix", help="PARAMETER=VALUE to hold; repeatable.")] = None
    soft: Annotated[list[str] | None, typer.Option("--soft", help="PARAMETER=MEAN:SD to pull towards; repeatable.")] = None
    use_sem: Annotated[bool, typer.Option("--use-sem", help="Weigh rows by their standard errors.")] = False
    all_checkpoints: Annotated[bool, typer.Option("--all-checkpoints", help="Also rows in the middle of a run.")] = False
    num_fewshot: Annotated[int | None, typer.Option("--num-fewshot", help="Shots, where several were measured.")] = None
    level: Annotated[float, typer.Option("--level", help="Nominal coverage of the intervals.")] = 0.95
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=0, help="Replicates over runs; 0: profile and sandwich.")] = 1000
    save: Annotated[bool, typer.Option("--save", help="Store the fit in --db; `forecast fits` lists what is stored.")] = False
    plot: Annotated[
        Path | None,
        typer.Option("--plot", callback=check_figure, help="Draw data, curve, band and constants: .png, .svg, .pdf."),
    ] = None
    db: DbOption = DEFAULT_DB
    json: JsonOption = False
    quiet: QuietOption = False
    seed: SeedOption = 0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fit")(as_command(fit, FitOptions))


def fit(options: FitOptions) -> None:
    """Fit a scaling law: constants with standard errors and intervals, and whether they are identified at all."""
    from forecast.cli.console import open_progress, print_json, stderr_console
    from forecast.core.errors import UsageError

    if not options.law:
        if options.save or options.plot is not None:
            given = "--save" if options.save else "--plot"
            raise UsageError(f"{given} is given without a law", expected="forecast fit LAW", remedy="`forecast fit` lists them")
        _list_laws(options.json)
        return
    from forecast.api.fit import fit_rows
    from forecast.api.predict import check_saving
    from forecast.api.saved_fits import save_fit
    from forecast.api.verbs import selection_of

    if options.save:
        check_saving(options.db)
    silent = options.quiet or options.json
    progress = open_progress(quiet=silent)
    where = parse_assignments(options.where or [], "--where")
    selection = selection_of(options.family, options.task, where, options.all_checkpoints, options.num_fewshot)
    request = _request(options)
    with progress.stage("fitting", None):
        fitted = fit_rows(options.table or options.db, selection, request, notice=progress.notice)
    if options.save:
        stored = save_fit(fitted, options.db)
        if not silent:
            stderr_console().say(f"stored in {options.db}: {stored}")
    if options.plot is not None:
        _draw(fitted, options.plot)
        if not silent:
            stderr_console().say(f"drawn: {options.plot}")
    # Last, so that a reader who goes away early leaves the fit stored and drawn.
    if options.json:
        print_json(fitted.report)
    else:
        _print(fitted.report)


def _request(options: FitOptions) -> FitRequest:
    from forecast.api.fit import FitRequest, soft_values

    return FitRequest(
        law=options.law,
        columns=parse_assignments(options.x or [], "--x"),
        y=options.y,
        loss=options.loss,
        space=options.space,
        fixed=parse_fixed(options.fix or []),
        soft=soft_values(parse_soft(options.soft or [])),
        use_sem=options.use_sem,
        level=options.level,
        replicates=options.bootstrap,
        seed=options.seed,
    )


def _draw(fitted: FittedLaw, path: Path) -> None:
    from forecast.report.fit_figure import FitPicture, draw_fit

    report = fitted.report
    picture = FitPicture(
        columns=report.x,
        y=report.y,
        errors=fitted.data.standard_errors(report.y),
        level=report.level,
        constants=[_line(constant) for constant in report.constants],
        flops_convention=report.flops_convention,
        where=_where(report),
    )
    draw_fit(path, fitted.result, fitted.replicates, picture)


def _where(report: FitReport) -> str:
    return (" on ".join(part for part in (report.family, report.task) if part)) or Path(report.source).name


def _line(constant: Constant) -> str:
    if constant.value is None:
        return f"{constant.name}: not identified"
    if constant.role == "fixed":
        return f"{constant.name} = {constant.value:.4g} (fixed)"
    return f"{constant.name} = {constant.value:.4g}" + (
        "" if constant.standard_error is None else f" ± {float(f'{constant.standard_error:.2g}'):g}"
    )


def _list_laws(json: bool) -> None:
    from rich.table import Table

    from forecast.cli.console import print_json, stdout_console

    laws = forecast.list_laws()
    if json:
        print_json(
            [
                {
                    "law": law.name,
                    "title": law.title,
                    "formula": law.formula,
                    "inputs": {column.name: column.unit for column in law.inputs},
                    "output": law.output,
                    "parameters": {parameter.name: parameter.meaning for parameter in law.parameters},
                    "reference": law.reference,
                    "published": [{"source": fit.source, "params": fit.params, "note": fit.note} for fit in law.published],
                }
                for law in laws
            ]
        )
        return
    table = Table("law", "formula", "predicts", "source", title="Laws: forecast fit LAW")
    for law in laws:
        table.add_row(law.name, law.formula, law.output, law.reference)
    stdout_console().print(table)


def _print(report: FitReport) -> None:
    from rich.table import Table

    from forecast.cli.console import stdout_console, styled

    console = stdout_console()
    where = " on ".join(part for part in (report.family, report.task) if part) or report.source
    console.say(styled(report.title, "bold"), report.formula)
    inputs = ", ".join(name if name == column else f"{name} = {column}" for name, column in report.x.items())
    asked = "" if report.num_fewshot is None else f" ({report.num_fewshot} shots)"
    chance = "" if report.chance is None else f", chance {report.chance:.3g}"
    console.say(
        f"{where}{asked}: {report.y}{chance} of {inputs}; {report.n_rows} rows of {report.n_runs} runs; {report.loss}, "
        f"{report.space} residuals; FLOPs: {report.flops_convention}"
    )
    percent = f"{100 * report.level:g} %"
    table = Table("parameter", "value", "standard error", f"{percent} interval", "meaning")
    for constant in report.constants:
        if constant.value is None:
            table.add_row(constant.name, styled("not identified", "yellow"), "", "", constant.meaning)
            continue
        interval = "" if constant.role == "fixed" else f"{_show(constant.lo)} to {_show(constant.hi)}"
        error = constant.role if constant.role == "fixed" else _show(constant.standard_error)
        table.add_row(constant.name, _show(constant.value), error, interval, constant.meaning)
    console.print(table)
    for name, value in report.extra.items():
        console.say(f"{name} = {value:.4g}")
    why = "" if report.status == "ok" else f" ({report.message})"
    scatter = "" if report.residual_sd is None else f"; residual sd {report.residual_sd:.3g}"
    console.say(
        f"status: {report.status}{why}; objective {report.objective:.7g}; {report.starts_agreed} of {report.starts} "
        f"starts agree; {report.iterations} steps{scatter}"
    )
    console.say(f"errors: {report.uncertainty}. Source of the law: {report.reference}")
    for warning in report.warnings:
        console.note(warning)


def _show(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
