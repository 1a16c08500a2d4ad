"""The command line: one file per command in `commands/`; each parses, calls one workflow, renders."""

from forecast.cli.app import main

__all__ = ["main"]
