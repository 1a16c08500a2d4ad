"""Cards of the published results that ship with the product: where a table comes from, and what it may be compared with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from forecast.catalog.located import read_located
from forecast.core.resources import data_folder

FOLDER = "tasks/published"


@dataclass(frozen=True, kw_only=True)
class PublishedSource:
    """One source of published results: a table of observations with its provenance."""

    name: str
    """The card's file name without its ending; the table beside it has the same."""
    title: str
    url: str
    commit: str
    """Of the repository that the numbers were taken from."""
    paper: str
    licence: str
    licence_source: str
    protocol: str
    """How the models were evaluated."""
    shots: str
    comparable: str
    """What the numbers can be compared with."""
    not_comparable: str
    table: Path
    aliases: tuple[tuple[str, ...], ...] = ()
    """Groups of names that one family has here and elsewhere."""


def read_source(path: Path) -> PublishedSource:
    """Read and validate one card.

    Raises:
        InputError: naming file, line and field.
    """
    texts = ("title", "commit", "licence", "protocol", "shots", "comparable", "not_comparable")
    links = ("url", "paper", "licence_source")
    root = read_located(path)
    entries = root.entries(required=("source", *texts, *links), optional=("aliases",))
    name = entries["source"].text()
    if name != path.stem:
        raise entries["source"].error(f"is {name!r}", expected=f"the file's name, {path.stem!r}")
    groups = entries["aliases"].elements() if "aliases" in entries else []
    return PublishedSource(
        name=name,
        **{field: entries[field].text() for field in texts},
        **{field: entries[field].url() for field in links},
        table=path.with_suffix(".parquet"),
        aliases=tuple(tuple(entry.text() for entry in group.elements()) for group in groups),
    )


@cache
def load_sources() -> tuple[PublishedSource, ...]:
    """Return all cards, by name."""
    return tuple(read_source(path) for path in sorted(data_folder(FOLDER).glob("*.yaml")))
