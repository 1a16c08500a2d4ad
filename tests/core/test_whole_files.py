"""Files that a user named: replaced whole or not at all, through their links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forecast.core.errors import InputError
from forecast.core.whole_files import real_path, replacing


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    with replacing(file) as partial:
        partial.write_text("first")
        assert not file.exists()
    with pytest.raises(FileNotFoundError), replacing(file) as partial:
        partial.with_name("other").rename(partial)
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_stays_a_link_even_to_what_does_not_exist_yet(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to("folder/real.txt")
    with replacing(link) as partial:
        partial.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "folder" / "real.txt").read_text() == "new"
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    assert real_path(loop).name == "loop"


def test_a_pipe_is_written_to_and_a_database_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with replacing(pipe) as place:
        place.write_text("x")
    assert os.read(reader, 10) == b"x"
    os.close(reader)
    database = tmp_path / "r.duckdb"
    database.write_bytes(b"12345678DUCK" + b"0" * 100)
    with pytest.raises(InputError, match="is a DuckDB database"), replacing(database):
        pass
    assert database.read_bytes().startswith(b"12345678DUCK")
