"""What is done with the results file itself: questions in SQL, examples of them, and its care."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.errors import InputError, UsageError
from forecast.core.resources import data_folder

if TYPE_CHECKING:
    import pyarrow as pa

    from forecast.store.maintenance import StoreInfo


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
    raise UsageError(
        f"there is no example query {name!r}", expected="one of " + ", ".join(example.name for example in examples)
    )


def read_query(file: Path) -> str:
    """Return the SQL in a file."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}", expected="a text file with SQL") from error


def run_query(
    db: Path, sql: str, *, write: bool = False, read: Sequence[Path] = (), as_text: bool = False
) -> Iterator[pa.RecordBatch]:
    """Stream the result of a query; with `write` it may change the file, entirely or not at all.

    Args:
        db: the results file.
        sql: one query, or several statements of which the last one's result counts.
        write: whether statements may change the results file and reach other files.
        read: files and folders that a query without `write` may read beside the results.
        as_text: columns of types that JSON and CSV do not have come as text.
    """
    from forecast.store import Store

    store = Store(db)
    yield from store.execute(sql, as_text=as_text) if write else store.query(sql, read=read, as_text=as_text)


def describe_store(db: Path) -> StoreInfo:
    """Return counts, sizes and versions of a results file."""
    from forecast.store import Store

    return Store(db).info()


def find_problems(db: Path) -> list[str]:
    """Return one sentence per kind of damage in a results file; empty when it is whole."""
    from forecast.store import Store

    return Store(db).problems()


def compact_store(db: Path) -> tuple[int, int]:
    """Write a results file anew without its gaps; return its size before and after, in bytes."""
    from forecast.store import Store

    return Store(db).compact()


def merge_stores(target: Path, sources: Sequence[Path]) -> int:
    """Take everything that `target` lacks from the other files; return the item results added.

    Raises:
        UsageError: a source is the target itself.
        StoreError: a source is missing or no results file; the target is then unchanged by it.
    """
    import tempfile

    from forecast.store import Store

    added = 0
    for source in sources:
        if source.resolve() == target.resolve():
            raise UsageError(f"{source} is the target itself", expected="another results file")
        with tempfile.TemporaryDirectory(prefix="forecast-merge-", dir=target.parent) as folder:
            Store(source).export(Path(folder))
            added += Store(target).merge(Path(folder))
    return added
