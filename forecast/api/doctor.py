"""What is installed, on which device things run, where things are kept, and what is wrong."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from forecast.core.errors import ForecastError
from forecast.core.failures import say_failure

_PACKAGE = "capability-forecast"
_ROOM_FOR_DOWNLOADS = 20e9
"""Bytes; a family such as Pythia takes more, a single model of a few billion parameters about as much."""
_HELPFUL = ("hf_xet", "torchao", "bitsandbytes", "polars", "ray", "vllm")
"""Packages that some options use and no command needs."""


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """Something that a user may want to know or change; commands work."""
    FAILURE = "failure"
    """Commands that need it fail."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing looked at."""

    name: str
    status: Status
    found: str
    remedy: str = ""
    """What to do about it; empty where nothing is to be done."""


def examine(db: Path) -> list[Check]:
    """Look at the installation, the machine, the caches, the settings and one results file; nothing is changed.

    Whatever a check raises is that check's failure: the others are made all the same.
    """
    checks: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("device", _devices),
        ("cards", _cards),
        ("hub cache", _hub_cache),
        ("own cache", _own_cache),
        ("settings", _settings),
        ("results file", lambda: _results_file(db)),
    )
    found: list[Check] = []
    for name, look in checks:
        try:
            found.extend(look())
        except ForecastError as error:
            found.append(Check(name=name, status=Status.FAILURE, found=str(error)))
        except Exception as error:  # noqa: BLE001  # a broken library is what this command is for
            found.append(Check(name=name, status=Status.FAILURE, found=say_failure(error)))
    return found


def _python() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{platform.python_version()} at {sys.executable}; {platform.system()} {platform.machine()}, {cores} cores"
    is_utf8 = sys.getfilesystemencoding().lower().startswith("utf")
    yield Check(
        name="python",
        status=Status.OK if is_utf8 else Status.WARNING,
        found=found,
        remedy="" if is_utf8 else "set PYTHONUTF8=1: file names with other letters cannot be read in this locale",
    )


def _packages() -> Iterator[Check]:
    from packaging.requirements import Requirement

    yield Check(name="forecast", status=Status.OK, found=metadata.version(_PACKAGE))
    for line in metadata.requires(_PACKAGE) or ():
        required = Requirement(line)
        if required.marker is not None and not required.marker.evaluate({"extra": ""}):
            continue
        version = _version(required.name)
        if version is None:
            yield Check(
                name=required.name,
                status=Status.FAILURE,
                found=f"not installed; expected {required.specifier}",
                remedy=f'pip install "{required.name}{required.specifier}"',
            )
            continue
        fits = required.specifier.contains(version, prereleases=True)
        yield Check(
            name=required.name,
            status=Status.OK if fits else Status.WARNING,
            found=version if fits else f"{version}; tested with {required.specifier}",
            remedy="" if fits else f'pip install "{required.name}{required.specifier}"',
        )
    installed = [f"{name} {_version(name)}" for name in _HELPFUL if _version(name)]
    yield Check(name="optional packages", status=Status.OK, found=", ".join(installed) or "none")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[Check]:
    from forecast.core.memory_reuse import loading

    with loading():
        from forecast.scoring.device_facts import accelerators, threads

        found = accelerators()
    for index, device in enumerate(found):
        precision = "bfloat16" if device.has_bfloat16 else "no bfloat16: use --dtype float16 or float32"
        yield Check(
            name=f"cuda:{index}",
            status=Status.OK if device.has_bfloat16 else Status.WARNING,
            found=f"{device.name}, {device.free_bytes / 1e9:.0f} of {device.total_bytes / 1e9:.0f} GB free, {precision}",
        )
    if not found:
        yield Check(name="device", status=Status.OK, found=f"cpu with {threads()} threads; torch sees no CUDA device")


def _cards() -> Iterator[Check]:
    from forecast.catalog.benchmarks import load_benchmarks
    from forecast.catalog.families import load_families

    yield Check(name="cards", status=Status.OK, found=f"{len(load_families())} families, {len(load_benchmarks())} benchmarks")


def _hub_cache() -> Iterator[Check]:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    offline = ", offline (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else ""
    writable = os.access(existing, os.W_OK)
    remedy = "" if free >= _ROOM_FOR_DOWNLOADS else "set HF_HOME to a larger disk, or evaluate with --cache-limit"
    yield Check(
        name="hub cache",
        status=Status.FAILURE if not writable else Status.WARNING if remedy else Status.OK,
        found=f"{folder}{'' if folder.exists() else ' (not made yet)'}, {free / 1e9:.0f} GB free{offline}",
        remedy=remedy if writable else "set HF_HOME to a folder that can be written",
    )


def _own_cache() -> Iterator[Check]:
    from forecast.core.user_cache import cache_folder

    folder = cache_folder()
    usable = folder is not None and os.access(next(p for p in (folder, *folder.parents) if p.exists()), os.W_OK)
    yield Check(
        name="own cache",
        status=Status.OK if usable else Status.WARNING,
        found=str(folder) if folder is not None else "none: the user has no home",
        remedy="" if usable else "set XDG_CACHE_HOME to a folder that can be written: commands start more slowly without",
    )


def _settings() -> Iterator[Check]:
    from forecast.core.settings_file import find_settings

    path = find_settings(Path.cwd()).path
    yield Check(name="settings", status=Status.OK, found="no settings file" if path is None else str(path))


def _results_file(db: Path) -> Iterator[Check]:
    from forecast.api.database import describe_store, find_problems

    if not db.exists():
        yield Check(name="results file", status=Status.OK, found=f"{db} does not exist yet")
        return
    info = describe_store(db)
    problems = find_problems(db)
    yield Check(
        name="results file",
        status=Status.FAILURE if problems else Status.OK,
        found="; ".join(problems)
        or f"{db}: {info.size_bytes / 1e6:.1f} MB, {info.runs} runs, {info.observations} observations",
        remedy="forecast db check says more" if problems else "",
    )
