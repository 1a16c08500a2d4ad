"""`forecast compare --shots` and `--tasks`: what examples or reasoning gain over compute, as lines, a table and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forecast.api.example_gain import ExampleGain


def show_gain(found: ExampleGain, plot: Path | None, *, json: bool, quiet: bool) -> None:
    """Print what was found, and draw it where a file is named."""
    from forecast.cli.console import print_json, stderr_console

    if plot is not None:
        from forecast.api.example_gain import save_gain

        save_gain(found, plot)
        if not (quiet or json):
            stderr_console().say(f"drawn: {plot}")
    if json:
        print_json(found)
    else:
        _print(found)


def _print(found: ExampleGain) -> None:
    from rich.table import Table

    from forecast.cli.console import stdout_console

    console = stdout_console()
    (a, b), top, percent = found.ways, found.at_largest, f"{100 * found.level:g} %"
    console.say(
        f"{found.family}, {found.metric}: {b} over {a} gains {top.gain:.4f} ({percent}: {top.lo:.4f} to {top.hi:.4f}) at "
        f"{top.flops:.3g} FLOPs: {found.status}"
    )
    onset = found.onset
    if found.status in {"seen", "before-data"}:
        start = "before the data" if onset.point is None else f"about {onset.point:.3g} FLOPs on"
        lo = "before the data" if onset.lo is None else f"{onset.lo:.3g}"
        hi = "beyond the data" if onset.hi is None else f"{onset.hi:.3g}"
        console.say(f"It exceeds {found.margin:g} from {start} ({percent}: {lo} to {hi})")
    table = Table("model", "FLOPs", a, b, "gain", "standard error")
    for row in found.checkpoints:
        se = "" if row.se is None else f"{row.se:.4f}"
        table.add_row(row.model, f"{row.flops:.3g}", f"{row.a:.4f}", f"{row.b:.4f}", f"{row.gain:+.4f}", se)
    console.print(table)
    for reason in found.reasons:
        console.say(reason)
