"""`forecast plan`: which runs to train, with which hyperparameters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecast.cli.options import JsonOption, QuietOption, SeedOption

if TYPE_CHECKING:
    from forecast.api.plan import Plan


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def plan(
    flops: Annotated[float, typer.Option("--flops", "-C", help="Training FLOPs of the model to forecast.")],
    fraction: Annotated[float, typer.Option("--fraction", help="Share of it that the ladder may cost.")] = 0.01,
    rungs: Annotated[int, typer.Option("--rungs", help="Runs of the ladder, half a decade of compute apart.")] = 6,
    tokens_per_param: Annotated[
        float | None, typer.Option("--tokens-per-param", help="Fixed ratio instead of a compute-optimal one.")
    ] = None,
    n_ctx: Annotated[int, typer.Option("--n-ctx", help="Training context, tokens.")] = 2048,
    flops_per_second: Annotated[
        float | None, typer.Option("--flops-per-second", help="Of your hardware, sustained: adds hours.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--table", "--csv", help="Runs already made (CSV or Parquet): refits, and picks the next run."),
    ] = None,
    db: Annotated[Path | None, typer.Option("--db", help="Runs already made, from a results file.")] = None,
    family: Annotated[str | None, typer.Option("--family", "-f", help="Family of the runs already made.")] = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Text set or benchmark whose loss to use.")] = None,
    where: Annotated[list[str] | None, typer.Option("--where", help="COLUMN=VALUE that rows must have; repeatable.")] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="Loss column; `loss` where there is one, else the card's.")
    ] = None,
    next_budget: Annotated[float | None, typer.Option("--next-budget", help="Most FLOPs of the next run.")] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    seed: SeedOption = 0,
) -> None:
    """Plan a ladder of small runs for a target budget; given runs, also the next one that sharpens its forecast most."""
    from forecast.api.verbs import plan as run
    from forecast.cli.assignments import parse_assignments
    from forecast.cli.console import open_progress, print_json
    from forecast.core.errors import UsageError

    if table is not None and db is not None:
        raise UsageError("both --table and --db are given", expected="one source of runs")
    progress = open_progress(quiet=quiet or json)
    with progress.stage("planning", None):
        found = run(
            table or db,
            flops,
            family=family,
            task=task,
            where=parse_assignments(where or [], "--where"),
            metric=metric,
            fraction=fraction,
            rungs=rungs,
            tokens_per_param=tokens_per_param,
            n_ctx=n_ctx,
            flops_per_second=flops_per_second,
            next_budget=next_budget,
            seed=seed,
            progress=progress,
        )
    if json:
        print_json(found)
        return
    _print(found)


def _print(plan: Plan) -> None:
    from rich.table import Table

    from forecast.cli.console import stdout_console

    console = stdout_console()
    console.say(
        f"Target: {plan.target_flops:.3g} FLOPs, {plan.target_params:.3g} parameters on {plan.target_tokens:.3g} tokens; "
        f"ladder: {plan.ladder_flops:.3g} FLOPs ({100 * plan.fraction:g} %)"
    )
    if plan.metric is not None:
        shots = "" if plan.num_fewshot is None else f" ({plan.num_fewshot} shots)"
        console.say(f"runs already made: their {plan.metric}{shots}")
    table = Table(
        "FLOPs", "parameters", "layers x width", "tokens", "tokens/param", "learning rate", "batch (tokens)", "steps", "loss"
    )
    hours = any(rung.hours is not None for rung in plan.rungs)
    if hours:
        table.add_column("hours")
    for rung in plan.rungs:
        cells = [
            f"{rung.flops:.3g}",
            f"{rung.params_non_embedding:.3g}",
            f"{rung.n_layer} x {rung.d_model}",
            f"{rung.tokens:.3g}",
            f"{rung.tokens_per_param:.3g}",
            f"{rung.learning_rate:.3g}",
            f"{rung.batch_tokens:,.0f}",
            f"{rung.steps:,}",
            "" if rung.loss is None else f"{rung.loss:.3f}",
        ]
        table.add_row(*cells, *([f"{rung.hours:.3g}"] if rung.hours is not None else []))
    console.print(table)
    console.say(f"sizes: {plan.allocation}; learning rate and batch: {plan.hyperparameters}; parameters without embeddings")
    if plan.next_run is not None:
        following = plan.next_run
        others = ", ".join(
            f"{name} ({following.alternatives_flops[name]:.2g} FLOPs) {100 * sd:.2f} %"
            for name, sd in following.alternatives.items()
        )
        console.say(
            f"next run: {following.params:.3g} parameters on {following.tokens:.3g} tokens ({following.flops:.3g} FLOPs): the "
            f"target loss's uncertainty falls from {100 * following.target_sd_now:.2f} % to "
            f"{100 * following.target_sd_after:.2f} %; instead: {others}"
        )
    for warning in plan.warnings:
        console.note(warning)
