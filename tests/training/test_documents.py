"""Corpora in, documents out; damaged ones are named."""

from __future__ import annotations

import gzip
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forecast.core.errors import InputError
from forecast.training.documents import read_documents

TEXT = "one\ntwo\n<|endoftext|>\n\n<|endoftext|>\nthree é\n"


def test_text_is_parted_at_end_lines_whatever_its_compression(tmp_path):
    plain, gz, xz = tmp_path / "a.txt", tmp_path / "a.txt.gz", tmp_path / "a.txt.xz"
    plain.write_text(TEXT, encoding="utf-8")
    gz.write_bytes(gzip.compress(TEXT.encode(), mtime=0))
    xz.write_bytes(lzma.compress(TEXT.encode()))
    for path in (plain, gz, xz):
        assert list(read_documents(path)) == ["one\ntwo", "three é"]


def test_parquet_gives_its_text_column(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["one", None, " ", "two"], "id": [1, 2, 3, 4]}), path)
    assert list(read_documents(path)) == ["one", "two"]


def test_bad_utf8_names_file_line_and_byte(tmp_path):
    path = tmp_path / "bad.txt"
    path.write_bytes(b"fine\nab\xffcd\n")
    with pytest.raises(InputError, match=r"bad\.txt, line 2: byte 3 \(0xff\)"):
        list(read_documents(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.txt.gz", gzip.compress(b"x" * 5000, mtime=0)[:-20], "cannot be read"),
        ("no.parquet", b"nonsense", "cannot be read"),
    ],
    ids=["cut gzip", "not parquet"],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_documents(path))


def test_missing_file_and_missing_column(tmp_path):
    with pytest.raises(InputError, match="no corpus"):
        list(read_documents(tmp_path / "none.txt"))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"body": ["one"]}), path)
    with pytest.raises(InputError, match="column 'text'"):
        list(read_documents(path))
