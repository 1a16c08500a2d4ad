"""(placeholder until the export lands below)"""
from __future__ import annotations
from pathlib import Path


def is_export(path: Path) -> bool:
    """Tell whether a folder was written by `forecast export`."""
    return (path / "forecast-export.json").is_file()


def merge_export(folder: Path, db: Path) -> None:
    """Merge."""
    raise NotImplementedError
