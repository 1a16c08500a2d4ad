"""`forecast tasks`: which benchmarks have a card, how they are asked, what is scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from forecast.cli.console import print_json, stdout_console
from forecast.cli.options import DEFAULT_DB, DbOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forecast.api.overview import BenchmarkOverview


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="tasks")(tasks_command)


def tasks_command(
    name: Annotated[str | None, typer.Argument(help="One benchmark; all when left out.", show_default=False)] = None,
    db: DbOption = DEFAULT_DB,
    json_output: JsonOption = False,
) -> None:
    """List benchmarks that have a card; any other lm-eval task can be named in 'forecast eval --tasks' as well."""
    from forecast.api.overview import benchmark_overviews

    overviews = benchmark_overviews(db=db, names=[name] if name else [])
    if json_output:
        rows = [{**_card_row(entry), "scored_checkpoints": entry.scored_checkpoints} for entry in overviews]
        print_json(rows if name is None else rows[0])
    elif name is None:
        _print_benchmarks(overviews)
    else:
        _print_benchmark(overviews[0])


def _card_row(entry: BenchmarkOverview) -> dict[str, object]:
    card = entry.card
    return {
        "task": card.name,
        "title": card.title,
        "lm_eval_task": card.lm_eval_task,
        "num_fewshot": card.num_fewshot,
        "accuracy_metric": card.accuracy_metric,
        "nll_metric": card.nll_metric,
        "chance": card.chance,
        "items": card.items,
        "split": card.split,
        "dataset": card.dataset,
        "dataset_config": card.dataset_config,
        "licence": card.licence,
        "licence_source": card.licence_source,
        "source": card.source,
        "items_source": card.items_source,
        "note": card.note,
        "scored_families": list(entry.scored_families),
    }


def _print_benchmarks(overviews: Sequence[BenchmarkOverview]) -> None:
    from rich.table import Table

    table = Table("task", "what", "items", "chance", "shots", "accuracy", "NLL", "scored")
    for entry in overviews:
        card = entry.card
        table.add_row(
            card.name,
            card.title,
            "?" if card.items is None else f"{card.items:,}",
            f"{card.chance:.3g}",
            str(card.num_fewshot),
            card.accuracy_metric,
            card.nll_metric,
            str(entry.scored_checkpoints or "-"),
        )
    stdout_console().print(table)


def _print_benchmark(entry: BenchmarkOverview) -> None:
    console = stdout_console()
    for key, value in {**_card_row(entry), "scored_checkpoints": entry.scored_checkpoints}.items():
        if value not in ("", None, []):
            shown = ", ".join(value) if isinstance(value, list) else value
            console.say(f"  {key.replace('_', ' ')}: {shown}")
