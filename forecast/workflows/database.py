"""What is done with the results file itself: questions in SQL, examples of them, and its care."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.errors import InputError, UsageError
from forecast.core.resources import data_folder

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class ExampleQuery:
    """A query that ships with the program."""

    name: str
    title: str
    """First comment line: what it answers."""
    sql: str


def example_queries() -> list[ExampleQuery]:
    """Return the example queries, in their order."""
    examples = []
    for file in sorted(data_folder("db/queries").glob("*.sql")):
        text = file.read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("--").strip()
        examples.append(ExampleQuery(name=file.stem.split("_", 1)[1].replace("_", "-"), title=title, sql=text))
    return examples


def find_example(name: str) -> ExampleQuery:
    """Return one example by name; UsageError where there is none of that name."""
    examples = example_queries()
    for example in examples:
        if example.name == name.replace("_", "-"):
            return example
    raise UsageError(f"no example query {name!r}", expected="one of " + ", ".join(example.name for example in examples))


def read_query(file: Path) -> str:
    """Return the SQL in a file."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}", expected="a text file with SQL") from error


def run_query(db: Path, sql: str, *, write: bool = False) -> Iterator[pa.RecordBatch]:
    """Stream the result of a query; with `write` it may change the file, entirely or not at all."""
    from forecast.store import Store

    store = Store(db)
    yield from store.execute(sql) if write else store.query(sql)
