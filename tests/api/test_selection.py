"""From names on the command line to requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from forecast.core.checkpoint_note import CheckpointNote, write_note
from forecast.core.errors import ForecastError, InputError, UsageError
from forecast.evaluation.selection import select


def test_a_family_is_filled_from_its_card_cheapest_first() -> None:
    requests = select(family="pythia", sizes="70m..410m", revisions="1000,final")
    assert [(entry.model, entry.step) for entry in requests] == [
        ("pythia-70m", 1000),
        ("pythia-70m", 143000),
        ("pythia-160m", 1000),
        ("pythia-160m", 143000),
        ("pythia-410m", 1000),
        ("pythia-410m", 143000),
    ]
    first = requests[0]
    assert first.source == "EleutherAI/pythia-70m"
    assert first.revision == "step1000"
    assert first.tokens == 2_097_152_000
    assert first.flops == 6 * 18_915_328 * 2_097_152_000
    assert first.flops_convention == "6nd-non-embedding"
    assert not first.is_final
    assert requests[1].is_final


def test_each_checkpoint_once() -> None:
    requests = select(family="pythia", sizes="70m", models=["EleutherAI/pythia-70m@step143000", "pythia-70m", "gpt2", "gpt2"])
    assert [(entry.source, entry.revision) for entry in requests] == [("EleutherAI/pythia-70m", "step143000"), ("gpt2", "")]


def test_a_known_model_at_a_commit_keeps_its_size_and_loses_its_step() -> None:
    (request,) = select(models=["EleutherAI/pythia-70m@" + "ab" * 20])
    assert request.revision == "ab" * 20
    assert request.params == 70_426_624
    assert request.tokens is None
    assert request.flops is None
    assert "lr_fraction" not in request.metadata


def test_a_hub_id_alone_means_the_default_branch_and_a_short_name_the_end_of_the_run() -> None:
    assert select(models=["allenai/OLMo-2-1124-7B"])[0].revision == "main"
    assert select(models=["olmo2-7b"])[0].revision == "stage1-step928646-tokens3896B"
    assert select(models=["EleutherAI/pythia-70m"])[0].revision == "step143000"


def test_an_unknown_model_is_taken_as_it_is() -> None:
    (request,) = select(models=["lab/other@step2000"], params=1000, tokens=2000)
    assert (request.source, request.revision, request.step, request.is_final) == ("lab/other", "step2000", 2000, False)
    assert request.flops == 12_000_000
    assert request.flops_convention == "6nd-total"


def test_overrides() -> None:
    (request,) = select(family="pythia", sizes="70m", tokens=1000)
    assert request.flops == 6 * 18_915_328 * 1000
    (request,) = select(family="pythia", sizes="70m", params=700, tokens=1000)
    assert (request.flops, request.flops_convention) == (6 * 700 * 1000, "6nd-total")
    (request,) = select(family="pythia", sizes="70m", flops=1e19)
    assert (request.flops, request.flops_convention, request.params) == (1e19, "published", 70_426_624)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no checkpoint named"),
        ({"sizes": "70m", "models": ["gpt2"]}, "choose within a family"),
        ({"family": "pythia", "params": 1}, "for 8 checkpoints"),
        ({"family": "pythia", "sizes": "70m", "tokens": 0}, "`tokens=` is 0"),
        ({"family": "pythia", "sizes": "70m", "flops": float("nan")}, "`flops=` is nan"),
        ({"family": "pythia", "sizes": "70m", "params": 7}, "`params=` is 7"),
        ({"family": "pythia", "sizes": "6.9b", "params": 7_000_000_000, "tokens": 300}, "`tokens=` is 300, 4.29e-08 per param"),
        ({"family": "pythia", "subset": "x"}, "no subset 'x'"),
        ({"models": ["pythia-71m"]}, "did you mean 'pythia-70m'"),
        ({"models": ["pythia"]}, "is a family.*`family=` pythia"),
        ({"models": ["EleutherAI/pythia-70m@step1001"]}, "no revision 'step1001'.*did you mean"),
        ({"models": ["EleutherAI/pythia-70m@all"]}, "names 154 checkpoints"),
        ({"models": ["a b/c"]}, "is not a folder and not a hub id"),
        ({"models": ["lab/x@"]}, "is not a folder and not a hub id"),
        ({"models": [""]}, "`models=` is empty"),
    ],
)
def test_wrong_names(arguments, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select(**arguments)


def test_folders(tmp_path: Path) -> None:
    one = tmp_path / "one@x"
    one.mkdir()
    (one / "config.json").write_text("{}")
    (request,) = select(models=[str(one)])
    assert (request.source, request.revision) == (str(one), "")
    with pytest.raises(InputError, match=r"holds 1.*`models=`"):
        select(models=[str(tmp_path)])
    with pytest.raises(InputError, match="is a file"):
        select(models=[str(one / "config.json")])
    with pytest.raises(ForecastError, match="revision to a folder"):
        select(models=[f"{one}@step1"])
    with pytest.raises(InputError, match="no folder"):
        select(models=[str(tmp_path / "none")])


def make_checkpoint(folder: Path, *, model: str, step: int, params: int, final: bool) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    note = CheckpointNote(
        family="demo",
        model=model,
        step=step,
        params=params,
        params_non_embedding=params // 2,
        tokens=step * 10,
        flops=6.0 * params * step * 10,
        flops_convention="6nd-total",
        is_final=final,
    )
    write_note(folder, note)


def test_an_in_house_family_selects_the_folders_that_training_left(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "a" / "step9", model="demo-d8", step=9, params=100, final=True)
    make_checkpoint(tmp_path / "a" / "step3", model="demo-d8", step=3, params=100, final=False)
    make_checkpoint(tmp_path / "b" / "step9", model="demo-d96", step=9, params=9000, final=True)
    make_checkpoint(tmp_path / "b" / "step12.partial", model="demo-d96", step=12, params=9000, final=True)
    finals = select(family="demo", checkpoints=tmp_path)
    assert [(entry.model, entry.step, entry.params) for entry in finals] == [("demo-d8", 9, 100), ("demo-d96", 9, 9000)]
    assert [entry.step for entry in select(family="demo", checkpoints=tmp_path, sizes="d8", revisions="all")] == [3, 9]
    assert [entry.model for entry in select(family="demo", checkpoints=tmp_path, sizes="1000..")] == ["demo-d96"]
    assert finals[0].flops == 6.0 * 100 * 90


def test_an_in_house_family_that_is_not_trained_says_how(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="forecast train demo"):
        select(family="demo", checkpoints=tmp_path)
