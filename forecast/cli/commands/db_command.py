"""`forecast db`: care of the results file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forecast.cli.options import DEFAULT_DB, DbOption, JsonOption, QuietOption


def register(app: typer.Typer) -> None:
    """Add the command and its parts."""
    group = typer.Typer(
        no_args_is_help=True, help="Look after results files: show what one holds, check it, compact it, merge several."
    )
    group.command("info")(info)
    group.command("check")(check)
    group.command("compact")(compact)
    group.command("merge")(merge)
    app.add_typer(group, name="db")


def info(db: DbOption = DEFAULT_DB, json: JsonOption = False, _quiet: QuietOption = False) -> None:
    """Counts, sizes and versions."""
    from dataclasses import asdict

    from forecast.api.database import describe_store
    from forecast.cli.console import print_json, stdout_console

    found = describe_store(db)
    if json:
        print_json(found)
        return
    for name, value in asdict(found).items():
        text = f"{value:,}" if isinstance(value, int) else str(value)
        stdout_console().say(f"{name.replace('_', ' '):<22} {text}")


def check(db: DbOption = DEFAULT_DB, json: JsonOption = False, _quiet: QuietOption = False) -> None:
    """Integrity: hashes, orphans, NaN, items missing from a run. Exit code 1 where something is wrong."""
    from forecast.api.database import find_problems
    from forecast.cli.console import print_json, stdout_console
    from forecast.core.errors import EXIT_RUNTIME

    problems = find_problems(db)
    if json:
        print_json({"ok": not problems, "problems": problems})
    else:
        for sentence in problems or ["everything is in order"]:
            stdout_console().say(sentence)
    if problems:
        raise typer.Exit(EXIT_RUNTIME)


def compact(db: DbOption = DEFAULT_DB, json: JsonOption = False, _quiet: QuietOption = False) -> None:
    """Write the file anew, without the gaps that changes left."""
    from forecast.api.database import compact_store
    from forecast.cli.console import print_json, stdout_console

    before, after = compact_store(db)
    if json:
        print_json({"bytes_before": before, "bytes_after": after})
    else:
        stdout_console().say(f"{before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB now")


def merge(
    target: Annotated[Path, typer.Argument(help="Results file that receives; it is created where there is none.")],
    sources: Annotated[list[Path], typer.Argument(help="Results files to take in; they stay as they are.")],
    json: JsonOption = False,
    _quiet: QuietOption = False,
) -> None:
    """Join results files: everything that TARGET lacks comes in from the others, nothing twice."""
    from forecast.api.database import merge_stores
    from forecast.cli.console import print_json, stdout_console

    added = merge_stores(target, sources)
    if json:
        print_json({"item_scores_added": added})
    else:
        stdout_console().say(f"{added:,} item results added")
