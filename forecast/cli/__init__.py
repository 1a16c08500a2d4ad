"""The command line: one file per command in `commands/`; each parses, calls one workflow, renders."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit."""
    import signal

    # While modules load there is nothing to tidy: Ctrl-C ends the process without a word, and without a traceback.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from forecast.cli.app import main as run

    signal.signal(signal.SIGINT, before)
    run()


__all__ = ["main"]
