"""`forecast compare A B`: compute-equivalent gain of families, or models item by item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecast.cli.example_comparison import show_gain
from forecast.cli.item_comparison import compare_by_items, refuse_with_items
from forecast.cli.option_groups import as_command
from forecast.cli.options import DEFAULT_DB, DbOption, JsonOption, QuietOption, SeedOption, check_shots, read_shots, split_names
from forecast.cli.outputs import check_figure
from forecast.core.errors import UsageError

if TYPE_CHECKING:
    from forecast.api.compare import Comparison


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What `forecast compare` takes."""

    names: Annotated[list[str] | None, typer.Argument(metavar="A B", help="Families; with --items, models.")] = None
    items: Annotated[
        bool, typer.Option("--items", help="Compare models (MODEL or MODEL@REVISION) on the items that they both answered.")
    ] = False
    shots: Annotated[
        str | None,
        typer.Option("--shots", callback=check_shots, metavar="J,K", help="What K examples gain over J on --task of --family."),
    ] = None
    tasks: Annotated[str | None, typer.Option("--tasks", help="A,B: what B gains over A (e.g. reasoning) for --family.")] = None
    family: Annotated[str | None, typer.Option("--family", "-f", help="With --shots or --tasks: the family.")] = None
    margin: Annotated[float, typer.Option("--margin", help="With --shots or --tasks: the least gain that counts.")] = 0.0
    table: Annotated[
        Path | None, typer.Option("--table", "--csv", help="Read a CSV, CSV.gz or Parquet table instead of --db.")
    ] = None
    task: Annotated[str | None, typer.Option("--task", "-t", help="Benchmark or text set; --items takes several.")] = None
    where: Annotated[list[str] | None, typer.Option("--where", help="COLUMN=VALUE that rows must have; repeatable.")] = None
    metric: Annotated[str | None, typer.Option("--metric", help="Metric to compare on; a loss if there is one.")] = None
    at: Annotated[float | None, typer.Option("--at", help="Level of the metric; the best that both reach unless said.")] = None
    all_checkpoints: Annotated[bool, typer.Option("--all-checkpoints", help="Also rows in the middle of a run.")] = False
    num_fewshot: Annotated[int | None, typer.Option("--num-fewshot", help="Shots, where several were measured.")] = None
    level: Annotated[float, typer.Option("--level", help="Nominal coverage of the interval.")] = 0.9
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=20, help="Replicates over runs.")] = 1000
    plot: Annotated[
        Path | None,
        typer.Option("--plot", callback=check_figure, help="Draw both families and the gain: .png, .svg, .pdf."),
    ] = None
    db: DbOption = DEFAULT_DB
    json: JsonOption = False
    quiet: QuietOption = False
    seed: SeedOption = 0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(as_command(compare, CompareOptions))


def compare(options: CompareOptions) -> None:
    """How many times A's compute B needs to equal it, within the range that both were measured in.

    With --items: whether one model is better than another on the same items: paired difference with its standard error, an
    exact test adjusted for the number of comparisons, and the smallest difference that could have been seen.

    With --shots J,K or --tasks A,B: what examples or reasoning gain over compute, and from where.
    """
    given = options.names or []
    if options.shots is not None or options.tasks is not None:
        _compare_ways(options)
        return
    if options.family is not None or options.margin:
        raise UsageError("--family or --margin without --shots or --tasks", expected="two families, A and B")
    if options.items:
        refuse_with_items(
            table=options.table, where=options.where, at=options.at, all_checkpoints=options.all_checkpoints, plot=options.plot
        )
        compare_by_items(
            options.db,
            given,
            options.task,
            options.metric,
            options.num_fewshot,
            options.seed,
            json=options.json,
            quiet=options.quiet,
        )
        return
    _compare_families(options, given)


def _compare_families(options: CompareOptions, given: Sequence[str]) -> None:
    from forecast.api.compare import compare_drawn, draw_families
    from forecast.api.verbs import selection_of
    from forecast.cli.assignments import parse_assignments
    from forecast.cli.console import open_progress, print_json, stderr_console

    if len(given) != 2:
        raise UsageError(f"{len(given)} names", expected="two families, A and B", remedy="with --items, two models or more")
    family_a, family_b = given
    progress = open_progress(quiet=options.quiet or options.json)
    with progress.stage("comparing", None):
        found, drawing = compare_drawn(
            options.table or options.db,
            family_a,
            family_b,
            selection_of(
                None,
                options.task,
                parse_assignments(options.where or [], "--where"),
                options.all_checkpoints,
                options.num_fewshot,
            ),
            metric=options.metric,
            at=options.at,
            level=options.level,
            replicates=options.bootstrap,
            seed=options.seed,
            notice=progress.notice,
        )
    if options.plot is not None:
        draw_families(found, drawing, options.plot)
        if not (options.quiet or options.json):
            stderr_console().say(f"drawn: {options.plot}")
    if options.json:
        print_json(found)
    else:
        _print(found)


def _compare_ways(options: CompareOptions) -> None:
    from forecast.api.example_gain import compare_examples
    from forecast.cli.console import open_progress

    for name, value in (("A B", options.names), ("--items", options.items), ("--where", options.where), ("--at", options.at)):
        if value:
            raise UsageError(f"{name} with --shots or --tasks", expected="--family NAME and the two ways of asking it")
    progress = open_progress(quiet=options.quiet or options.json)
    with progress.stage("comparing", None):
        found = compare_examples(
            options.table or options.db,
            options.family,
            task=options.task,
            shots=read_shots(options.shots),
            tasks=split_names(options.tasks, "--tasks", required=True),
            num_fewshot=options.num_fewshot,
            metric=options.metric,
            margin=options.margin,
            all_checkpoints=options.all_checkpoints,
            level=options.level,
            replicates=options.bootstrap,
            seed=options.seed,
            notice=progress.notice,
        )
    show_gain(found, options.plot, json=options.json, quiet=options.quiet)


def _print(found: Comparison) -> None:
    from rich.table import Table

    from forecast.cli.console import stdout_console

    console = stdout_console()
    percent = f"{100 * found.level:g} %"
    alike = "" if found.matched_at is None else f" at {found.matched_at:.3g} tokens per parameter"
    shots = "" if found.num_fewshot is None else f" ({found.num_fewshot} shots)"
    chance = "" if found.chance is None else f", chance {found.chance:.3g},"
    console.say(
        f"{found.family_b} needs {found.gain.ratio:.3g} times the compute of {found.family_a} "
        f"({percent}: {found.gain.lo:.3g} to {found.gain.hi:.3g}) for {found.metric} {found.gain.level:.4g}{chance} on "
        f"{found.task}{shots}{alike}: {found.verdict}"
    )
    table = Table(found.metric, f"FLOPs of {found.family_a}", f"FLOPs of {found.family_b}", f"ratio ({percent})")
    for gain in found.along:
        table.add_row(
            f"{gain.level:.4g}",
            f"{gain.flops_a:.3g}",
            f"{gain.flops_b:.3g}",
            f"{gain.ratio:.3g} ({gain.lo:.3g} to {gain.hi:.3g})",
        )
    console.print(table)
    console.say(
        f"law: {found.law}; common range {found.common_low:.4g} to {found.common_high:.4g}; FLOPs: {found.flops_convention}"
    )
    if found.compute_only is not None:
        only, a, b = found.compute_only, found.tokens_per_param_a, found.tokens_per_param_b
        assert a is not None
        assert b is not None
        console.say(
            f"By compute alone, over runs of {a.low:.3g} to {a.high:.3g} and {b.low:.3g} to {b.high:.3g} tokens per parameter,"
            f" the ratio is {only.ratio:.3g} ({only.lo:.3g} to {only.hi:.3g}): training length counts as efficiency there."
        )
    for warning in found.warnings:
        console.note(warning)
