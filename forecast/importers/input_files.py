"""Which files an import is about: those that are named, and in folders the lm-eval results; what is passed over is said."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from forecast.core.errors import InputError
from forecast.importers.lmeval_results import damage, looks_like_results
from forecast.importers.tables import is_table

Say = Callable[[str], None]

_NAMED = 5
"""How many of many files a sentence names."""


@dataclass(frozen=True, kw_only=True)
class FailedFile:
    """A file of a folder that could not be imported; the others were."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True)
class FoundFiles:
    """What is to be read."""

    named: tuple[Path, ...]
    """Files that the user named: each of them must be whole."""
    in_folders: tuple[Path, ...]
    """Results files that were found in folders."""
    failed: tuple[FailedFile, ...]
    """Files in folders that should be read and cannot be."""


def find_files(paths: Sequence[Path], left_out: Say) -> FoundFiles:
    """Return the files to read, each once; `left_out` is told what else lies in the folders.

    Raises:
        InputError: a path is missing or is not a regular file; a folder holds nothing to import.
    """
    named: list[Path] = []
    in_folders: list[Path] = []
    failed: list[FailedFile] = []
    for path in paths:
        if path.is_dir():
            found, broken = _in_folder(path, left_out)
            in_folders += found
            failed += broken
        elif _is_samples(path):
            named.append(_results_of(path))
        elif path.exists() or is_table(path):
            named.append(path)
        else:
            raise InputError(f"no file or folder {path}", expected="lm-eval results, or a CSV or Parquet table")
    first: dict[Path, Path] = {}
    for path in (*named, *in_folders):
        first.setdefault(path.resolve(), path)
    once = set(first.values())
    in_folders = [path for path in dict.fromkeys(in_folders) if path in once and path not in named]
    named = [path for path in dict.fromkeys(named) if path in once]
    return FoundFiles(named=tuple(named), in_folders=tuple(in_folders), failed=tuple(failed))


def _in_folder(folder: Path, left_out: Say) -> tuple[list[Path], list[FailedFile]]:
    files, failed = _walk(folder)
    documents = [path for path in files if path.suffix == ".json"]
    found = [path for path in documents if looks_like_results(path)]
    others = []
    for path in sorted(set(documents) - set(found)):
        reason = damage(path)
        if reason:
            failed.append(FailedFile(path=path, reason=reason))
        else:
            others.append(path)
    if not found and not failed:
        raise InputError(
            f"{folder} holds no lm-eval results ({len(others)} other JSON files)",
            expected="results_*.json, or name the CSV or Parquet tables themselves",
        )
    if others:
        left_out(f"{folder}: {len(others)} JSON files are not lm-eval results and are left out: {_names(others)}")
    if tables := [path for path in files if is_table(path)]:
        left_out(f"{folder}: {len(tables)} tables are left out; name them to import them: {_names(tables)}")
    if samples := [path for path in files if _is_samples(path) and not _beside(path).is_file()]:
        left_out(
            f"{folder}: {len(samples)} samples files have no results file next to them and are left out: {_names(samples)}"
        )
    return found, failed


def say_unused_samples(evaluated: Sequence[tuple[Path, Sequence[str]]], left_out: Say) -> None:
    """Name the samples files that were written with a results file which states nothing of their task.

    Args:
        evaluated: results files and the tasks that each states.
        left_out: is told.
    """
    results = {path.resolve(): path for path, _ in evaluated}
    used = {
        path.resolve().parent / f"samples_{task}_{path.stem.removeprefix('results_')}.jsonl{suffix}"
        for path, tasks in evaluated
        for task in tasks
        for suffix in ("", ".gz")
    }
    for folder in sorted({path.parent for path in results}):
        for path in sorted(folder.glob("samples_*.jsonl*")):
            if _is_samples(path) and path not in used and _beside(path) in results:
                left_out(f"{path.name} is left out: {_beside(path).name} has no results for its task")


def _walk(folder: Path) -> tuple[list[Path], list[FailedFile]]:
    """Return the regular files of a folder, and the folders in it that cannot be read."""
    failed: list[FailedFile] = []

    def note(error: OSError) -> None:
        path = Path(str(error.filename))
        failed.append(FailedFile(path=path, reason=f"{path} cannot be read: {error.strerror}"))

    files = [Path(where) / name for where, _folders, names in os.walk(folder, onerror=note) for name in names]
    return sorted(path for path in files if path.is_file()), failed


def _names(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(path.name for path in paths[:_NAMED]) + more


def _is_samples(path: Path) -> bool:
    return path.name.startswith("samples_") and path.name.endswith((".jsonl", ".jsonl.gz"))


def _beside(samples: Path) -> Path:
    """The results file that was written together with a samples file: they share the date."""
    date = samples.name.removesuffix(".gz").removesuffix(".jsonl").rsplit("_", 1)[-1]
    return samples.parent / f"results_{date}.json"


def _results_of(samples: Path) -> Path:
    beside = _beside(samples)
    if not beside.is_file():
        raise InputError(f"{samples} has no {beside.name} next to it", expected="the results file that says which model it was")
    return beside
