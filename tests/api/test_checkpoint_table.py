"""Many checkpoints with what they cost to train: a table, or one number for each `--model`."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from forecast.core.errors import ForecastError, InputError, UsageError
from forecast.evaluation.checkpoint_table import read_checkpoints
from forecast.evaluation.selection import select


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "mine" / name for name in ("a", "b", "c")]
    for folder in made:
        folder.mkdir(parents=True)
    return made


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_table_says_what_every_checkpoint_is(folders: list[Path], tmp_path: Path) -> None:
    table = write(
        tmp_path / "mine" / "runs.csv",
        "model,family,name,params,tokens,flops,step",
        f"{folders[0]},mine,mine-1m,1e6,2e9,,",
        "b,mine,mine-2m,2000000,,3.5e17,",
        "c,mine,mine-2m,,,,100",
        "lab/other@step2000,,,10000,20000,,",
    )
    one, two, three, hub = read_checkpoints(table)
    assert (one.source, one.family, one.model, one.flops, one.flops_convention) == (
        str(folders[0]),
        "mine",
        "mine-1m",
        1.2e16,
        "6nd-total",
    )
    assert (two.source, two.params, two.flops, two.flops_convention) == (str(folders[1]), 2_000_000, 3.5e17, "published")
    assert (three.step, three.flops) == (100, None)
    assert (hub.source, hub.revision, hub.model, hub.flops) == ("lab/other", "step2000", "other", 1.2e9)
    assert len(select(table=table)) == 4


def test_parquet_and_the_steps_of_one_run(folders: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "runs.parquet"
    columns = {"model": [str(folder) for folder in folders], "name": ["r"] * 3, "family": ["f"] * 3, "step": [10, 30, 20]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    assert [(entry.step, entry.is_final) for entry in read_checkpoints(path)] == [(10, False), (30, True), (20, False)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["model,token", "a,3"], "has the column 'token'; expected .*did you mean 'tokens'"),
        (["name", "a"], "has no column 'model'"),
        (["model,params", "a,7"], r"line 2: params is '7'; expected .*7e9"),
        (["model,tokens", "a,inf"], "line 2: tokens is 'inf'"),
        (["model,tokens", "a,-3e9"], "line 2: tokens is '-3e9'"),
        (["model,tokens", "a,1e30"], "line 2: tokens is '1e30'"),
        (["model,flops", "a,nope"], "line 2: flops is 'nope'"),
        (["model,flops,flops_convention", "a,1e20,guess"], "line 2: flops_convention is 'guess'"),
        (["model,params", ",1e6"], "line 2: model is blank"),
        (["model", "a", "b", "a"], "line 4: 'a' is in line 2 too"),
        (["model", "a b"], "line 2: 'a b' is not a folder and not a hub id"),
        (["model"], "no rows"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_by_line(
    lines: list[str], message: str, folders: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        read_checkpoints(write(tmp_path / "mine" / "runs.csv", *lines))


def test_numbers_belong_to_the_models_in_their_order(folders: list[Path]) -> None:
    models = [str(folder) for folder in folders]
    requests = select(
        models=models, params=[10**6, 2 * 10**6, 3 * 10**6], tokens=[10**9, 2 * 10**9, 3 * 10**9], family_name="mine"
    )
    assert [(request.source, request.flops, request.family) for request in requests] == [
        (models[0], 6e15, "mine"),
        (models[1], 2.4e16, "mine"),
        (models[2], 5.4e16, "mine"),
    ]


@pytest.mark.parametrize(
    "options",
    [{"tokens": [10**9]}, {"params": 10**6}, {"flops": [1e15, 1e16, 1e17, 1e18]}, {"tokens": [1, 2, 0]}, {"flops": [1e15] * 2}],
)
def test_a_number_too_few_or_too_many_is_refused(options: dict[str, object], folders: list[Path]) -> None:
    with pytest.raises(UsageError, match=r"one for each `models=`, in their order|from 100 to"):
        select(models=[str(folder) for folder in folders], **options)  # type: ignore[arg-type]


def test_numbers_for_a_family_are_for_its_one_checkpoint() -> None:
    [request] = select(family="pythia", sizes="70m", tokens=10**9)
    assert request.tokens == 10**9
    with pytest.raises(ForecastError, match="`tokens=`"):
        select(family="pythia", sizes="70m..410m", tokens=10**9)


def test_a_family_name_needs_a_model() -> None:
    with pytest.raises(UsageError, match="`family_name=`"):
        select(family="pythia", family_name="mine")
