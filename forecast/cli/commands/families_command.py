"""`forecast families`: which families can be named, what they are, what of them is scored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecast.cli.console import print_json, stdout_console, styled
from forecast.cli.options import DEFAULT_DB, DbOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forecast.api.overview import FamilyOverview


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="families")(families_command)


def families_command(
    name: Annotated[str | None, typer.Argument(help="One family; all when left out.", show_default=False)] = None,
    checkpoints: Annotated[Path, typer.Option("--checkpoints", help="Folder that 'forecast train' writes to.")] = Path(
        "checkpoints"
    ),
    db: DbOption = DEFAULT_DB,
    json_output: JsonOption = False,
) -> None:
    """List families: sizes, checkpoints, compute range, what is already scored; with a name, each model and its facts."""
    from forecast.api.overview import family_overviews

    overviews = family_overviews(db=db, names=[name] if name else [], checkpoints=checkpoints)
    if json_output:
        print_json(overviews if name is None else overviews[0])
    elif name is None:
        _print_families(overviews)
    else:
        _print_family(overviews[0])


def _print_families(overviews: Sequence[FamilyOverview]) -> None:
    from rich.table import Table

    table = Table("family", "what", "sizes", "models", "checkpoints", "training FLOPs", "scored")
    for entry in overviews:
        table.add_row(
            entry.family,
            entry.title,
            _size_range(entry),
            str(len(entry.models)),
            str(entry.checkpoints),
            _flops_range(entry),
            f"{entry.scored_checkpoints}" if entry.scored_checkpoints else "-",
        )
    table.caption = "forecast families NAME shows one; forecast eval --family NAME --tasks ... scores it"
    stdout_console().print(table)


def _print_family(entry: FamilyOverview) -> None:
    from rich.table import Table

    console = stdout_console()
    console.say(styled(entry.title, "bold"), f" ({entry.family})")
    if entry.description:
        console.say(" ".join(entry.description.split()))
    for key, fact in entry.facts.items():
        console.say(f"  {key.replace('_', ' ')}: {fact.value} ", styled(fact.source, "dim"))
    console.say(f"  FLOPs convention: {entry.flops_convention}")
    with_subsets = any(model.subset for model in entry.models)
    table = Table("model", "size", *(["subset"] if with_subsets else []), "params", "non-embedding", "tokens")
    for heading in ("FLOPs", "checkpoints", "scored", "tasks scored"):
        table.add_column(heading)
    for model in entry.models:
        cells = [model.model, model.size, *([model.subset] if with_subsets else [])]
        cells += [_count(model.params), _count(model.params_non_embedding), _short(model.tokens)]
        cells += [f"{model.flops:.3g}" if model.flops else "?", str(model.checkpoints)]
        cells += [str(model.scored_checkpoints or "-"), ", ".join(model.scored_tasks) or "-"]
        table.add_row(*cells)
    console.print(table)
    if entry.in_house and not entry.checkpoints:
        console.say(f"nothing is trained yet: forecast train {entry.family}")


def _size_range(entry: FamilyOverview) -> str:
    labels = list(dict.fromkeys(model.size for model in entry.models))
    return labels[0] if len(labels) == 1 else f"{labels[0]}..{labels[-1]}"


def _flops_range(entry: FamilyOverview) -> str:
    if entry.min_flops is None or entry.max_flops is None:
        return "?"
    return f"{entry.min_flops:.1e} to {entry.max_flops:.1e}"


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _short(value: float | None) -> str:
    """Show a count with three digits.

    >>> _short(299_892_736_000), _short(999_900), _short(None)
    ('300B', '1M', '?')
    """
    if value is None:
        return "?"
    rounded = float(f"{value:.3g}")
    for factor, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if rounded >= factor:
            return f"{rounded / factor:.3g}{unit}"
    return f"{rounded:g}"
