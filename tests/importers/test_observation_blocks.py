"""Whole columns against one row at a time: the same rows or the same error, whatever the cells hold."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.core.errors import InputError
from forecast.core.observation_tables import batch_of_rows, observation_content, observation_hash, observation_ids, rows_of
from forecast.importers import csv_tables, observation_blocks, read_observations
from forecast.importers.observation_cells import read_rows
from forecast.importers.tables import read_table

PLAIN = {
    "family": st.sampled_from(["f", " g", "h\u00e9", 'q"x']),
    "model": st.sampled_from(["m1", "m2", "m,3"]),
    "task": st.just("t"),
    "params": st.sampled_from(["1e9", "", "1000", "7000000000", "1e8"]),
    "params_non_embedding": st.sampled_from(["", "9e8"]),
    "tokens": st.sampled_from(["2e10", "20000000000", "0", "2048"]),
    "flops": st.sampled_from(["1.2e20", "", "6e19", "0"]),
    "step": st.sampled_from(["", "0", "7", "7.0", "1e3"]),
    "acc": st.sampled_from(["0.5", "0.123456789012345678", "", "1", "n/a"]),
    "acc_sem": st.sampled_from(["", "0.01"]),
    "loss": st.sampled_from(["", "2.5", " 3.25 ", "NaN"]),
    "n_items": st.sampled_from(["", "1000"]),
    "is_final": st.sampled_from(["", "true", "No", "1.0"]),
    "revision": st.sampled_from(["", " main"]),
    "flops_convention": st.sampled_from(["", "measured", "-"]),
    "note": st.sampled_from(["", "x", "3", "0.5", "true", "inf", "1_0", 'a "quote"', "two\nlines", "\u2028"]),
    "other": st.sampled_from(["", "N/A", "7"]),
}
ODD = st.sampled_from(
    ["-1", "63", "1e400", "inf", "nan(3)", "+0.5", "1_000", "0x10", "half", "1e308", "-0.0", "5", "1.5", "0,5", "\u0661", "."]
)
OPTIONAL = tuple(name for name in PLAIN if name not in ("family", "model", "task", "params", "tokens", "flops", "acc"))


@st.composite
def tables(draw: st.DrawFn) -> str:
    left_out = draw(st.sets(st.sampled_from(OPTIONAL)))
    names = [name for name in PLAIN if name not in left_out]
    rows = draw(st.lists(st.tuples(*(PLAIN[name] for name in names)), min_size=1, max_size=6))
    cells = [list(row) for row in rows]
    for _ in range(draw(st.integers(0, 2))):
        column = draw(st.sampled_from([name for name in names if name not in ("model", "task")]))
        cells[draw(st.integers(0, len(cells) - 1))][names.index(column)] = draw(ODD)
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=draw(st.sampled_from(["\n", "\r\n"]))).writerows([names, *cells])
    return out.getvalue()


def outcome(path: Path) -> object:
    notices: list[str] = []
    try:
        return read_observations(path, notice=notices.append), notices
    except InputError as error:
        return str(error)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(text=tables())
def test_columns_and_rows_give_the_same(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "runs.csv"
        path.write_text(text, encoding="utf-8", newline="")
        fast = outcome(path)
        patch.setattr(csv_tables, "_ODD", ("",))
        patch.setattr(observation_blocks, "read_block", lambda *_arguments: None)
        assert outcome(path) == fast


@settings(max_examples=150, deadline=None, derandomize=True)
@given(text=tables())
def test_a_block_that_is_read_by_columns_is_what_its_rows_are(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        path.write_text(text, encoding="utf-8", newline="")
        table = read_table(path)
    unknown = [name for name in table.columns if name in ("note", "other")]
    for block in table.blocks:
        batch = observation_blocks.read_block(table.columns, block, unknown, "s")
        if batch is not None:
            rows = list(read_rows(table, block, unknown, "s"))
            assert list(rows_of(batch)) == rows
            assert observation_ids(batch) == [observation_hash(observation_content(row)) for row in rows]
            assert batch.equals(batch_of_rows(rows))


def test_what_is_plainly_right_is_read_by_columns(data_folder: Path) -> None:
    for name in ("chinchilla2022.csv", "gadre2024.csv.gz", "pythia_v1.csv.gz", "olmo_ladder2024.csv.gz"):
        table = read_table(data_folder / "published" / name)
        for block in table.blocks:
            assert observation_blocks.read_block(table.columns, block, [], "s") is not None


ALPHABET = st.text(alphabet='ab,\n\r" \t\x1c\u00e9', max_size=60)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(text=ALPHABET)
def test_both_readers_cut_a_text_into_the_same_cells(text: str) -> None:
    def cells(path: Path) -> object:
        try:
            table = read_table(path)
        except InputError as error:
            return str(error)
        return table.columns, table.rows, table.lines

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "t.csv"
        path.write_text("x,y\n" + text, encoding="utf-8", newline="")
        fast = cells(path)
        patch.setattr(csv_tables, "_ODD", ("",))
        assert cells(path) == fast


def test_pieces_and_blocks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that cross the pieces in which a file is read, a quotation mark late in the file, and blank lines."""
    from forecast.importers import text_lines

    monkeypatch.setattr(text_lines, "_CHUNK_BYTES", 37)
    monkeypatch.setattr(csv_tables, "ROWS_PER_BLOCK", 10)
    lines = [f"f,m{n},t,1e20,0.{n:03d}" for n in range(1, 100)]
    lines[70:70] = ["", '"f","m\nx",t,1e20,0.9999']
    path = tmp_path / "t.csv"
    path.write_text("family,model,task,flops,acc\n" + "\n".join(lines), encoding="utf-8")
    table = read_table(path)
    assert len(table) == len(table.rows) == 100
    assert [block.first_row for block in table.blocks][:3] == [1, 11, 21]
    assert (table.rows[0], table.lines[0]) == (("f", "m1", "t", "1e20", "0.001"), 2)
    assert (table.rows[69][1], table.lines[69]) == ("m70", 71)
    assert (table.rows[70][1], table.lines[70]) == ("m\nx", 73)
    assert (table.rows[71][1], table.lines[71]) == ("m71", 75)
    assert len(read_observations(path)) == 100
    path.write_text(path.read_text().replace("0.095", "95"), encoding="utf-8")
    with pytest.raises(InputError, match=r"row 96 \(line 99\), column acc: '95'"):
        read_observations(path)


def test_numbers_of_a_parquet_file_are_read_as_their_text_would_be(tmp_path: Path) -> None:
    columns = {
        "family": pa.array(["f", "f"]).dictionary_encode(),
        "model": pa.array([b"a", b"b"], pa.binary()),
        "task": pa.array(["t", "t"], pa.large_string()),
        "params": pa.array([7 * 10**9, None], pa.uint64()),
        "tokens": pa.array([2**53 + 1, 2048], pa.int64()),
        "step": pa.array([None, None], pa.null()),
        "flops": pa.array([None, 1e19], pa.float64()),
        "acc": pa.array([0.63, None], pa.float32()),
        "loss": pa.array([float("nan"), 2.5], pa.float64()),
        "tags": pa.array([["x"], None], pa.list_(pa.string())),
        "part": pa.array([{"a": 1}, None], pa.struct([("a", pa.int8())])),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    first, second = read_observations(tmp_path / "t.parquet")
    assert (first.family, first.model, first.task, first.params, first.tokens) == ("f", "a", "t", 7e9, float(2**53 + 1))
    assert first.metrics == {"acc": pytest.approx(0.63, abs=1e-7)}
    assert (second.metrics, second.params, second.flops) == ({"loss": 2.5}, None, 1e19)
    assert first.metadata == {"tags": "['x']", "part": "{'a': 1}"}


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("family", pa.array([["f"]]), "column 'family' holds values of type list"),
        ("family", pa.array([b"\xff"]), "column 'family' holds bytes that are not UTF-8"),
        ("acc", pa.array([[0.5]]), r"column acc: '\[0.5\]'; expected a number"),
        ("acc", pa.array([True]), "column acc: 'True'; expected a number"),
        ("is_final", pa.array([2]), "column is_final: '2'; expected true or false"),
    ],
)
def test_odd_types_of_a_parquet_file_are_one_sentence(tmp_path: Path, name: str, column: pa.Array, expected: str) -> None:
    plain = {"family": ["f"], "model": ["m"], "task": ["t"], "flops": [1e20], "acc": [0.5]}
    pq.write_table(pa.table({**plain, name: column}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=expected):
        read_observations(tmp_path / "t.parquet")
