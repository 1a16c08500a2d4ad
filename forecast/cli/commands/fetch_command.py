"""`forecast fetch`: download checkpoints ahead of time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecast.cli.console import open_progress, print_json, stdout_console
from forecast.cli.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from forecast.api.fetch import FetchReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="fetch")(fetch_command)


def fetch_command(
    family: Annotated[str | None, typer.Option("--family", "-f", help="A family of 'forecast families'.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Hub id[@revision]; repeatable.")] = None,
    sizes: Annotated[str, typer.Option("--sizes", help="E.g. 70m..1.4b or 70m,410m; all when left out.")] = "",
    revisions: Annotated[str, typer.Option("--revisions", help="final, log:12, 1000,2000, 1000..8000 or all.")] = "final",
    subset: Annotated[str, typer.Option("--subset", help="Part of a family that has parts.")] = "",
    trust_remote_code: Annotated[
        list[str] | None, typer.Option("--trust-remote-code", help="Hub id whose own Python files may be fetched; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be downloaded.")] = False,
    json_output: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Download checkpoints ahead of time (HF_HOME, HF_TOKEN, HF_ENDPOINT are honoured); interrupted downloads resume."""
    from forecast.api.checkpoints import open_fetcher, select
    from forecast.api.fetch import fetch_checkpoints

    requests = select(family=family, models=model or [], sizes=sizes, revisions=revisions, subset=subset)
    progress = open_progress(quiet=quiet)
    fetcher = open_fetcher(progress=progress, trust_remote_code=trust_remote_code or [])
    report = fetch_checkpoints(requests, fetcher=fetcher, dry_run=dry_run, progress=progress)
    if json_output:
        print_json(list(report.checkpoints))
    else:
        _print_table(report, dry_run=dry_run)
    report.raise_failures()


def _print_table(report: FetchReport, *, dry_run: bool) -> None:
    from rich.table import Table

    table = Table("model", "revision", "commit", "status", "size", "to download" if dry_run else "downloaded", "weights")
    for row in report.checkpoints:
        table.add_row(
            row.model,
            row.revision,
            row.revision_sha[:12],
            row.status,
            show_bytes(row.total_bytes),
            show_bytes(row.downloaded_bytes),
            row.weights,
        )
    total = sum(row.downloaded_bytes for row in report.checkpoints)
    counted = f"{len(report.checkpoints)} checkpoint{'' if len(report.checkpoints) == 1 else 's'}"
    table.caption = f"{counted}, {show_bytes(total)} {'to download' if dry_run else 'downloaded'}"
    stdout_console().print(table)
    folders = {str(Path(row.folder)) for row in report.checkpoints if row.folder}
    if len(folders) == 1:
        stdout_console().say(f"in {folders.pop()}")


def show_bytes(count: int) -> str:
    """Show bytes in the decimal unit that keeps three digits.

    >>> show_bytes(0), show_bytes(1_500), show_bytes(166_029_852), show_bytes(999_900)
    ('0 B', '1.5 kB', '166 MB', '1 MB')
    """
    value = float(f"{count:.3g}")
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:.3g} {unit}"
        value /= 1000
    raise AssertionError("unreachable: TB ends the loop")
