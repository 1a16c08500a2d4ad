"""Observation tables: published ones are read whole, and everything doubtful is refused by row and column."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forecast.core.errors import InputError
from forecast.importers import read_observations, to_ladders

HEADER = "family,model,task,params,tokens,flops,acc,loss"


def write(folder: Path, text: str, name: str = "runs.csv") -> Path:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "rows", "ladders"),
    [
        ("chinchilla2022.csv", 245, 1),
        ("gadre2024.csv.gz", 5824, 168),
        ("pythia_v1.csv.gz", 5376, 32),
        ("olmo_ladder2024.csv.gz", 28552, 8),
    ],
)
def test_published_tables_are_read_whole(data_folder: Path, name: str, rows: int, ladders: int) -> None:
    notices: list[str] = []
    found = read_observations(data_folder / "published" / name, notice=notices.append)
    assert len(found) == rows
    built = to_ladders(found)
    assert len(built) == ladders
    assert sum(len(ladder) for ladder in built) == rows
    assert len(notices) == 1
    assert "kept as metadata" in notices[0]


def test_blank_cells_and_two_kinds_of_rows(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER},note\nf,m,arc,1e9,2e10,1.2e20,0.5,,x\nf,m,c4,1e9,2e10,1.2e20,,2.5,\n", "t.csv.gz")
    first, second = read_observations(path)
    assert first.metrics == {"acc": 0.5}
    assert second.metrics == {"loss": 2.5}
    assert first.metadata == {"note": "x"}
    assert second.metadata == {}


def test_unknown_columns_are_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    notices: list[str] = []
    path = write(tmp_path, "family,model,task,flops,acc,accnorm,seed\nf,m,t,1e20,0.5,0.4,3\n")
    (row,) = read_observations(path, notice=notices.append)
    assert notices == ["runs.csv: unknown columns kept as metadata: accnorm (did you mean 'acc_norm'?), seed"]
    assert row.metadata == {"accnorm": 0.4, "seed": 3}


@pytest.mark.parametrize(
    ("cells", "column", "expected"),
    [
        ("f,m,t,1e9,2e10,1.2e20,63,", "acc", "fractions"),
        ("f,m,t,1e9,2e10,1.2e20,-0.1,", "acc", "fractions"),
        ("f,m,t,1e9,2e10,1.2e20,,350", "loss", "nats"),
        ("f,m,t,1e9,2e10,1.2e20,,-1", "loss", "nats"),
        ("f,m,t,7,2e10,,0.5,", "params", "7e9, not 7"),
        ("f,m,t,1e9,300,,0.5,", "tokens", "3e11, not 300"),
        ("f,m,t,,,21.5,0.5,", "flops", "FLOPs"),
        ("f,m,t,1e9,2e10,1.2e26,0.5,", "flops", "units of one"),
        ("f,m,t,1e9,2e10,inf,0.5,", "flops", "FLOPs"),
        ("f,m,t,1_000_000,2e10,,0.5,", "params", "a number"),
        ("f,m,t,1e9,2e10,1.2e20,half,", "acc", "a number"),
        ("f,m,t,1e9,,,0.5,", "flops", "params with tokens"),
        ("f,,t,1e9,2e10,1.2e20,0.5,", "model", "a name"),
    ],
)
def test_a_bad_cell_is_refused_by_row_and_column(tmp_path: Path, cells: str, column: str, expected: str) -> None:
    path = write(tmp_path, f"{HEADER}\nf,ok,t,1e9,2e10,1.2e20,0.5,\n{cells}\n")
    with pytest.raises(InputError) as caught:
        read_observations(path)
    message = str(caught.value)
    assert f"row 2 (line 3), column {column}" in message
    assert expected in message
    assert "\n" not in message


TOKEN_HEADER = "family,model,task,params,tokens,step,acc"


@pytest.mark.parametrize(
    ("tokens", "step"), [("0", "0"), ("512", "1"), ("999", "999"), ("1000", ""), ("2.1e9", "1000"), ("0", "")]
)
def test_few_tokens_are_believed_where_the_step_agrees(tmp_path: Path, tokens: str, step: str) -> None:
    (row,) = read_observations(write(tmp_path, f"{TOKEN_HEADER}\nf,m,t,1e6,{tokens},{step},0.5\n"))
    assert row.tokens == float(tokens)


@pytest.mark.parametrize(
    ("tokens", "step"), [("300", ""), ("300", "143000"), ("300", "0"), ("1.4", "1"), ("0.3", ""), ("999", "1000"), ("-1", "1")]
)
def test_tokens_in_billions_are_refused(tmp_path: Path, tokens: str, step: str) -> None:
    with pytest.raises(InputError, match=r"row 1 \(line 2\), column tokens.*3e11, not 300"):
        read_observations(write(tmp_path, f"{TOKEN_HEADER}\nf,m,t,1e9,{tokens},{step},0.5\n"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (f"{HEADER}\n", "has no rows"),
        ("family;model;task\na;b;c\n", "has no comma"),
        ("model,task,flops,acc\nm,t,1e20,0.5\n", "no column family"),
        ("family,model,task,flops\nf,m,t,1e20\n", "no column with a measurement"),
        ("family,model,task,acc\nf,m,t,0.5\n", "how much compute"),
        (f"{HEADER}\nf,m,t\n", "line 2 has 3 cells"),
        (f"{HEADER},acc\nf,m,t,1e9,1e9,,0.5,,0.5\n", "occurs twice"),
        (f"{HEADER}\nf,m,t,1e9,2e10,,,\n", "no row holds a measurement"),
        (f'{HEADER}\n"f,m,t,1e9,2e10,,0.5,\n', "is not a CSV"),
        (f"{HEADER}\nf,m,t,1e9,2e10,,0\0,\n", "NUL"),
    ],
)
def test_a_malformed_table_is_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        read_observations(write(tmp_path, text))


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("famille,modèle\n".encode("latin-1"))
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"family,model" * 1000)[:30])
    (tmp_path / "no.parquet").write_bytes(b"PAR1 no")
    for name, expected in (
        ("latin.csv", "UTF-8"),
        ("cut.csv.gz", "cannot be read"),
        ("no.parquet", "cannot be read"),
        ("missing.csv", "no file"),
    ):
        with pytest.raises(InputError, match=expected):
            read_observations(tmp_path / name)


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    text = "family,model,task,params,tokens,acc,is_final,step\nf,m,t,1000000000,20000000000,0.123456789012345678,true,7\n"
    from_csv = read_observations(write(tmp_path, text))
    columns = {
        "family": ["f"], "model": ["m"], "task": ["t"], "params": [10**9], "tokens": [2 * 10**10],
        "acc": [0.123456789012345678], "is_final": [True], "step": [7],
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "runs.parquet")
    (row,) = read_observations(tmp_path / "runs.parquet")
    assert [row.metrics, row.params, row.tokens, row.is_final, row.step] == [
        from_csv[0].metrics, 1e9, 2e10, True, 7,
    ]  # fmt: skip


def test_exact_repeats_count_once_and_other_repeats_are_kept(tmp_path: Path) -> None:
    notices: list[str] = []
    line = "f,m,t,1e9,2e10,,0.5,\n"
    path = write(tmp_path, f"{HEADER}\n{line}{line}f,m,t,1e9,2e10,,0.6,\n")
    assert [row.metrics["acc"] for row in read_observations(path, notice=notices.append)] == [0.5, 0.6]
    assert "1 rows repeat" in notices[0]
