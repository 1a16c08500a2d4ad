"""`forecast sql`: any question to the results, in SQL."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from forecast.cli.options import DEFAULT_DB, DbOption, JsonOption, QuietOption
from forecast.cli.outputs import check_output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sql")(sql_command)


def sql_command(
    query: Annotated[str | None, typer.Argument(help="SQL, a file *.sql, or - for stdin.", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the SQL from a file.")] = None,
    example: Annotated[str | None, typer.Option("--example", help="Run one of the example queries.")] = None,
    examples: Annotated[bool, typer.Option("--examples", help="List the example queries with their SQL.")] = False,
    form: Annotated[str, typer.Option("--format", help="table, csv, json or parquet.")] = "table",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", callback=check_output, help="Write to a file instead of stdout.")
    ] = None,
    max_rows: Annotated[int, typer.Option("--max-rows", min=1, help="Rows of a table for reading.")] = 200,
    read: Annotated[
        list[Path] | None,
        typer.Option("--read", help="A file or folder that the query may read beside the results (repeatable)."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Allow changes to the results file, and reading and writing others.")
    ] = False,
    db: DbOption = DEFAULT_DB,
    json: JsonOption = False,
    _quiet: QuietOption = False,
) -> None:
    """Ask the results anything, in SQL; works while an evaluation runs. `forecast sql "SHOW TABLES"` is a start."""
    from forecast.api.database import find_example, read_query, run_query
    from forecast.cli.batches import write_batches
    from forecast.core.errors import UsageError

    if examples:
        _print_examples(as_json=json or form == "json")
        return
    given = [source for source in (query, file, example) if source is not None]
    if len(given) != 1:
        raise UsageError(
            f"{len(given)} queries were given",
            expected="one: as argument, as --file, as --example, or - for stdin",
            remedy="see `forecast sql --examples`",
        )
    if example is not None:
        sql = find_example(example).sql
    elif file is not None:
        sql = read_query(file)
    elif query == "-":
        sql = sys.stdin.read()
    else:
        sql = _argument(str(query))
    form = "json" if json else form
    batches = run_query(db, sql, write=write, read=read or (), as_text=form != "parquet")
    write_batches(batches, form=form, output=output, max_rows=max_rows)


def _argument(query: str) -> str:
    from forecast.api.database import read_query

    looks_like_file = query.endswith(".sql") and len(query.split()) == 1
    return read_query(Path(query)) if looks_like_file else query


def _print_examples(*, as_json: bool) -> None:
    from forecast.api.database import example_queries
    from forecast.cli.console import print_json, stdout_console, styled

    found = example_queries()
    if as_json:
        print_json(found)
        return
    console = stdout_console()
    for entry in found:
        console.say(styled(f"{entry.name}:", "bold"), entry.title)
        for line in entry.sql.strip().splitlines()[1:]:
            console.say(styled(line, "dim"))
        console.say("")
    console.say("Run one with: forecast sql --example NAME, e.g.", styled("forecast sql --example leaderboard", "bold"))
