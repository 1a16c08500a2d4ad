"""Files that are broken, endless or not files at all: each is one line, at once, or is read rightly."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forecast.core.errors import InputError
from forecast.importers import read_observations, table_blocks, text_lines

HEADER = "family,model,task,params,tokens,flops,acc"
LINE = "f,m,t,1e9,2e10,1.2e20,0.5"


def write(folder: Path, content: str | bytes, name: str = "runs.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "accs"),
    [
        (f"\ufeff{HEADER}\n{LINE}\n", [0.5]),
        (f"{HEADER}\r\n{LINE}\r\n".replace("0.5", " 0.25 "), [0.25]),
        (f"{HEADER}\r{LINE}\r", [0.5]),
        (f'{HEADER},note\n{LINE},"two\nlines"\n{LINE.replace("0.5", "0.6")},x', [0.5, 0.6]),
        (f"\n\n{HEADER}\n\n{LINE}\n,,,,,,\n", [0.5]),
        (f'"{HEADER.replace(",", chr(34) + "," + chr(34))}"\n{LINE}\n', [0.5]),
        (f"{HEADER},note\n{LINE},{'x' * 10_000_000}\n", [0.5]),
        (f"{HEADER}\n{LINE.replace('0.5', '+0.5')}\n", [0.5]),
        (f"{HEADER}\nf,m,t,1e9,0,0,0.5\n", [0.5]),
    ],
    ids=["mark", "windows", "mac", "lines in quotes", "blank lines", "quoted header", "10 MB", "plus", "untrained"],
)
def test_what_can_be_read_is_read(tmp_path: Path, content: str, accs: list[float]) -> None:
    assert [row.metrics["acc"] for row in read_observations(write(tmp_path, content))] == accs


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f"{HEADER}\n{LINE}".encode("utf-16"), "holds NUL bytes.*save it as UTF-8"),
        (f"{HEADER}\n{LINE},é".encode("latin-1"), r"is not UTF-8 text \(byte 68\)"),
        (f"\ufeff{HEADER}\n{LINE},".encode() + b"\xff", r"is not UTF-8 text \(byte 71\)"),
        (f"{HEADER}\n{LINE}\n{LINE},\n", "line 3 has 8 cells; expected 7"),
        (f"{HEADER}\n{LINE.replace('0.5', '0,5')}\n", "line 2 has 8 cells"),
        (f"{HEADER}\n" + LINE.replace("0.5", '"0,5"') + "\n", r"row 1 \(line 2\), column acc: '0,5'; expected a number"),
        (f"{HEADER}\n" + LINE.replace("1e9", '"1,000,000,000"') + "\n", "column params: '1,000,000,000'; expected a number"),
        (HEADER.replace(",", ";") + "\n" + LINE.replace(",", ";"), "has no comma"),
        (f"{HEADER},acc \n{LINE},1\n", "column 'acc' occurs twice"),
        (f"{HEADER}\n{LINE.replace('0.5', 'x' * 10_000_000)}\n", r"column acc: 'x+'\.\.\. \(10,000,000 characters\)"),
        (f'{HEADER}\n{LINE}\n"{"x" * 17_000_000}"', "is not a CSV: field larger than field limit"),
        (f"{HEADER}\n{LINE}\n{'x' * 17_000_000}", "is not a CSV: field larger than field limit"),
    ],
    ids=["UTF-16", "Latin-1", "marked", "ragged", "decimal comma", "quoted comma", "thousands", "semicolons", "twice",
         "10 MB", "17 MB quoted", "17 MB"],
)  # fmt: skip
def test_what_cannot_be_read_is_one_short_line(tmp_path: Path, content: str | bytes, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        read_observations(write(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("cells", "column", "expected"),
    [
        ("1e9,2e10,0", "flops", "flops is 0; expected a number of training FLOPs from 10000"),
        ("1e9,2e10,1e308", "flops", "flops is 1e[+]308; expected a number of training FLOPs"),
        ("1e9,2e10,1.2e26", "flops", "flops is 1.2e[+]26, but 6 x params x tokens is 1.2e[+]20.*in units of one"),
        ("1e9,2e10,1.2e12", "flops", "flops is 1.2e[+]12, but 6 x"),
        ("1e300,2e10,", "params", "a number of parameters"),
        ("1e9,1e30,", "tokens", "a number of training tokens"),
        ("1e9,0,1e20", "tokens", "tokens is 0"),
        (",,1e-300", "flops", "at least 1e[+]06"),
    ],
)
def test_nonsense_of_scale_is_refused(tmp_path: Path, cells: str, column: str, expected: str) -> None:
    with pytest.raises(InputError, match=rf"row 1 \(line 2\), column {column}: .*{expected}.*nothing was imported"):
        read_observations(write(tmp_path, f"{HEADER}\nf,m,t,{cells},0.5\n"))


def test_counts_beyond_integers_are_refused(tmp_path: Path) -> None:
    for column in ("step", "n_items", "num_fewshot"):
        with pytest.raises(InputError, match=f"column {column}: '1e30'; expected a whole number"):
            read_observations(write(tmp_path, f"{HEADER},{column}\n{LINE},1e30\n"))


@pytest.mark.parametrize("name", ["runs.csv", "runs.csv.gz", "runs.parquet"])
def test_pipes_folders_and_devices_are_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    begun = time.monotonic()
    with pytest.raises(InputError, match="is a named pipe"):
        read_observations(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is a device"):
        read_observations(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_observations(path)
    assert time.monotonic() - begun < 30


def bomb(path: Path, chunk: bytes, times: int, head: bytes = b"") -> Path:
    with gzip.open(path, "wb", compresslevel=1) as out:
        out.write(head)
        for _ in range(times):
            out.write(chunk)
    return path


def test_compressed_files_that_never_end_are_left_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = bomb(tmp_path / "zeros.csv.gz", bytes(1 << 20), 64)
    with pytest.raises(InputError, match="holds NUL bytes"):
        read_observations(zeros)
    monkeypatch.setattr(text_lines, "_ALWAYS_BYTES", 1 << 20)
    blank = bomb(tmp_path / "blank.csv.gz", b"\n" * (1 << 20), 32, HEADER.encode())
    with pytest.raises(InputError, match="unpacks to more than 200 times its size"):
        read_observations(blank)
    monkeypatch.setattr(text_lines, "_LONGEST_LINE", 1 << 20)
    line = bomb(tmp_path / "line.csv.gz", os.urandom(1 << 10).hex().encode(), 2000, HEADER.encode())
    with pytest.raises(InputError, match="has a line of more than 1 MiB"):
        read_observations(line)


def test_more_rows_than_memory_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_blocks, "_MOST_ROWS", 2)
    with pytest.raises(InputError, match="has more than 2 rows"):
        read_observations(write(tmp_path, f"{HEADER}\n{LINE}\n{LINE}\n{LINE}\n"))
    columns = {"family": ["f"] * 3, "model": ["m"] * 3, "task": ["t"] * 3, "flops": [1e20] * 3, "acc": [0.5] * 3}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="has more than 2 rows"):
        read_observations(tmp_path / "t.parquet")


def test_a_parquet_file_may_be_empty_or_cut_off(tmp_path: Path) -> None:
    columns = {"family": ["f"], "model": ["m"], "task": ["t"], "flops": [1e20], "acc": [0.5]}
    pq.write_table(pa.table(columns).slice(0, 0), tmp_path / "none.parquet")
    with pytest.raises(InputError, match="has no rows"):
        read_observations(tmp_path / "none.parquet")
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", compression="none")
    content = (tmp_path / "t.parquet").read_bytes()
    for size in (0, 4, len(content) // 2, len(content) - 1):
        (tmp_path / "t.parquet").write_bytes(content[:size])
        with pytest.raises(InputError, match="cannot be read") as caught:
            read_observations(tmp_path / "t.parquet")
        assert "\n" not in str(caught.value)
