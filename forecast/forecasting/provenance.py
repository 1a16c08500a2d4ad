"""What a stored forecast was made from: hashes of the data and of the code that made it."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from forecast.core.hashing import content_hash
from forecast.core.observations import FloatArray, Ladder


def data_hash(ladder: Ladder, *siblings: Ladder) -> str:
    """Hash of everything that a forecast reads of a ladder, and of the family's other tasks.

    The order of rows and of siblings does not matter.
    """
    own = _hash(ladder)
    return content_hash([own, sorted(_hash(sibling) for sibling in siblings)]) if siblings else own


def _hash(ladder: Ladder) -> str:
    def plain(column: FloatArray) -> list[float | None]:
        return [float(value) if np.isfinite(value) else None for value in column]

    columns: list[list[float | None]] = [plain(ladder.params), plain(ladder.tokens), plain(ladder.flops), plain(ladder.step)]
    columns += [] if ladder.n_items is None else [plain(ladder.n_items)]
    names = sorted(ladder.metrics)
    columns += [plain(ladder.metrics[name]) for name in names]
    rows = sorted(
        zip(ladder.model, ladder.is_final.tolist(), *columns, strict=True), key=lambda row: tuple(str(entry) for entry in row)
    )
    chance = ladder.chance if np.isfinite(ladder.chance) else None
    return content_hash([ladder.family, ladder.task, ladder.num_fewshot, chance, names, [list(row) for row in rows]])


@cache
def code_version() -> str:
    """Package version with a hash of the sources that decide a forecast, e.g. `0.1.0+3f2a...`."""
    from importlib.metadata import version

    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for room in ("core", "laws", "forecasting"):
        for path in sorted((package / room).rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode())
            digest.update(path.read_bytes())
    return f"{version('capability-forecast')}+{digest.hexdigest()[:12]}"
