"""What is done with the results file itself: questions in SQL, examples of them, and its care."""

from __future__ import annotations

import glob
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forecast.core.errors import StoreError, UsageError
from forecast.core.nearest import did_you_mean
from forecast.core.resources import data_folder
from forecast.core.user_files import read_user_text
from forecast.core.whole_files import real_path

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
        f"there is no example query {name!r}",
        expected="one of " + ", ".join(example.name for example in examples),
        remedy=did_you_mean(name, [example.name for example in examples]),
    )


def read_query(file: Path) -> str:
    """Return the SQL in a file."""
    return read_user_text(file, expected="a text file with SQL")


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
        StoreError: a source is missing or is not a results file; the target is then unchanged by it.
    """
    from forecast.store import Store
    from forecast.store.sessions import check_readable

    for source in sources:
        check_readable(source)
        if target.exists() and source.samefile(target):
            raise UsageError(f"{source} is the target itself", expected="another results file")
    added = 0
    for source in sources:
        with _exchange_folder(real_path(target)) as folder:
            Store(source).export(folder)
            added += Store(target).merge(folder)
    return added


@contextmanager
def _exchange_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, and remove what merges that were killed have left there.

    Whoever uses a folder holds a lock on it, which ends with the process: a folder that can be locked is nobody's.
    """
    import fcntl
    import os
    import shutil

    prefix = f".{target.name}.merge-"

    def locked(folder: Path) -> int | None:
        with suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY)
            with suppress(BlockingIOError, FileNotFoundError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(handle), folder.stat()):
                    return handle
            os.close(handle)
        return None

    def remove(folder: Path, handle: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)

    try:
        for old in target.parent.glob(f"{glob.escape(prefix)}*"):
            handle = locked(old)
            if handle is not None:
                remove(old, handle)
        handle = None
        while handle is None:  # another merge may take the new folder for an old one before it is locked
            folder = target.parent / f"{prefix}{secrets.token_hex(4)}"
            folder.mkdir()
            handle = locked(folder)
    except OSError as error:
        raise StoreError(
            f"{target.parent} cannot be written: {error.strerror or error}", remedy="name another target"
        ) from error
    try:
        yield folder
    finally:
        remove(folder, handle)
