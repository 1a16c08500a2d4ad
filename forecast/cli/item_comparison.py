"""`forecast compare --items`: models on the same items, as a table per task or a list of JSON objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.errors import UsageError
from forecast.core.metrics import metric_named

if TYPE_CHECKING:
    from forecast.api.item_comparison import ItemComparison


def refuse_with_items(**options: object) -> None:
    """Refuse options that only a comparison of families has.

    Raises:
        UsageError: one was given.
    """
    for name, value in options.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} with --items", expected="families to compare, without --items")


def compare_by_items(
    db: Path,
    models: Sequence[str],
    tasks: str | None,
    metric: str | None,
    num_fewshot: int | None,
    seed: int,
    *,
    json: bool,
    quiet: bool,
) -> None:
    """Compare and print; notices go to stderr.

    Raises:
        ForecastError: see `forecast.api.item_comparison.compare_items`.
    """
    from forecast.api.item_comparison import compare_items
    from forecast.cli.console import open_progress, print_json
    from forecast.cli.options import split_names

    names = [name for entry in models for name in split_names(entry, "A B", required=True) or ()]
    found = compare_items(
        db,
        names,
        tasks=split_names(tasks, "--task"),
        metric=metric,
        num_fewshot=num_fewshot,
        seed=seed,
        progress=open_progress(quiet=quiet or json),
    )
    if json:
        print_json(found)
    else:
        _print(found, names)


def _print(found: Sequence[ItemComparison], models: Sequence[str]) -> None:
    from rich.table import Table

    from forecast.cli.console import stdout_console, styled

    console = stdout_console()
    several = len(models) > 2
    means = ("pair", "metric", "A", "B") if several else ("metric", *models)
    numbers = ("difference", "se", "p", "adjusted", "items", "A higher", "B higher", "detectable")
    table = Table("task", *means, *numbers)
    for one in found:
        scale = 100.0 if metric_named(one.metric).is_accuracy else 1.0
        mean = "{:.1f}" if scale > 1 else "{:.4f}"
        row = [one.task, *((f"{one.a} - {one.b}",) if several else ()), f"{one.metric}{' (%)' if scale > 1 else ''}"]
        row += [mean.format(scale * one.mean_a), mean.format(scale * one.mean_b)]
        clusters = "" if one.n_clusters is None else f" in {one.n_clusters}"
        cells = [
            f"{scale * one.difference:+.3g}",
            "" if one.se is None else f"{scale * one.se:.2g}",
            f"{one.p_value:.2g}",
            f"{one.p_adjusted:.2g}",
            f"{one.n_items}{clusters}",
            str(one.a_higher),
            str(one.b_higher),
            "" if one.detectable is None else f"{scale * one.detectable:.2g}",
        ]
        table.add_row(*row, styled(cells[0], "bold" if one.is_significant else ""), *cells[1:])
    console.print(table)
    console.say("A minus B on the same items; adjusted: by Holm over all rows; detectable: what this test finds 4 times in 5")
