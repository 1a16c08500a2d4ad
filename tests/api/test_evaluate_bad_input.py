"""What goes wrong in an evaluation is said by name: checkpoints, tasks, items, options; nothing is left half done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from forecast.api.evaluate import EvaluationReport, FailedCheckpoint, evaluate
from forecast.core.errors import ForecastError, InputError, PartialResultError, UsageError
from forecast.core.progress import SilentProgress
from forecast.evaluation.selection import select

Run = Callable[..., EvaluationReport]
MirrorWriter = Callable[[Path, dict[str, list[dict[str, Any]]]], Path]


@pytest.fixture
def damaged(checkpoints: list[Path], tmp_path: Path) -> dict[str, Path]:
    import shutil

    made = {
        name: Path(shutil.copytree(checkpoints[0], tmp_path / "family" / name))
        for name in ("corrupt", "cut", "nan", "no-weights", "no-tokenizer", "no-config", "bad-config", "foreign")
    }
    (made["corrupt"] / "model.safetensors").write_bytes(b"\x10" + b"\0" * 7 + b"no header at all")
    weights = (made["cut"] / "model.safetensors").read_bytes()
    (made["cut"] / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    state = transformers.AutoModelForCausalLM.from_pretrained(made["nan"])
    with torch.no_grad():
        state.gpt_neox.layers[1].mlp.dense_h_to_4h.weight[3, 3] = float("nan")
    state.save_pretrained(made["nan"])
    (made["no-weights"] / "model.safetensors").unlink()
    for path in made["no-tokenizer"].glob("tokenizer*"):
        path.unlink()
    (made["no-config"] / "config.json").unlink()
    (made["bad-config"] / "config.json").write_text('{"model_type": "gpt_neox"')
    (made["foreign"] / "config.json").write_text('{"model_type": "t5"}')
    return made


def test_one_bad_checkpoint_does_not_stop_the_others(damaged: dict[str, Path], checkpoints: list[Path], run: Run) -> None:
    report = run([checkpoints[0], *damaged.values(), checkpoints[1]], ["toy_choice"])
    assert [row["model"] for row in report.rows] == ["toy-0", "toy-1"]
    assert {Path(failure.source).name for failure in report.failures} == set(damaged)
    with pytest.raises(PartialResultError) as caught:
        report.raise_failures()
    assert caught.value.exit_code == 3
    for name in damaged:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("corrupt", "safetensors"),
        ("cut", "bytes"),
        ("nan", "task 'toy_choice', item"),
        ("no-weights", "no weights"),
        ("no-tokenizer", "no tokenizer"),
        ("no-config", "config.json"),
        ("bad-config", "config.json"),
        ("foreign", "t5"),
    ],
)
def test_a_bad_checkpoint_alone_is_one_line_that_names_the_defect(
    name: str, said: str, damaged: dict[str, Path], run: Run
) -> None:
    report = run(damaged[name], ["toy_choice"])
    with pytest.raises(ForecastError, match=said) as caught:
        report.raise_failures()
    assert caught.value.exit_code == 1
    assert report.rows == ()


def test_a_missing_folder_among_several_does_not_stop_the_others(checkpoints: list[Path], world: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none"
    requests = select(models=[str(missing), str(checkpoints[0])], keep_missing=True)
    report = evaluate(
        requests, tasks=["toy_choice"], db=tmp_path / "r.duckdb", include_path=world / "tasks", data_dir=world / "data"
    )
    assert [row["model"] for row in report.rows] == ["toy-0"]
    with pytest.raises(PartialResultError, match=f"no folder '{missing}'") as caught:
        report.raise_failures()
    assert caught.value.exit_code == 3
    with pytest.raises(InputError, match="no folder"):
        select(models=[str(missing)], keep_missing=True)


def test_a_failure_names_its_source_once() -> None:
    failures = (
        FailedCheckpoint(source="lab/x", error="lab/x: no such model"),
        FailedCheckpoint(source="lab/y", error="out of memory"),
    )
    with pytest.raises(ForecastError, match=r"^lab/x: no such model; lab/y: out of memory$"):
        EvaluationReport(rows=(), failures=failures).raise_failures()


def test_an_unknown_task_is_refused_with_the_nearest_names(checkpoints: list[Path], run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="toy_choice"):
        run(checkpoints[0], ["toy_choise"])
    assert not (tmp_path / "results.duckdb").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"include_path": Path("/nowhere")}, "`include_path=`"),
        ({"data_dir": Path("/nowhere")}, "`data_dir=`"),
        ({"dtype": "float8"}, "float8"),
        ({"device": "tpu"}, "tpu"),
        ({"device": "cuda"}, "CUDA"),
        ({"backend": "vllm"}, "lm-eval:NAME"),
        ({"num_fewshot": 50}, "50 examples"),
    ],
)
def test_impossible_wishes_are_refused(options: dict[str, Any], said: str, checkpoints: list[Path], run: Run) -> None:
    if options == {"device": "cuda"} and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ForecastError, match=said):
        run(checkpoints[0], ["toy_choice"], **options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"choices": ["a", "", "b", "c"]}, "item 1: choice 1 is empty"),
        ({"gold": 4}, "task 'toy_choice', item 1: the answer 4"),
        ({"gold": -1}, "task 'toy_choice', item 1: the answer -1"),
    ],
)
def test_a_malformed_item_is_named(
    change: dict[str, Any],
    said: str,
    checkpoints: list[Path],
    world: Path,
    run: Run,
    tmp_path: Path,
    write_mirror: MirrorWriter,
) -> None:
    good = {"question": "why", "choices": ["a", "b", "c", "d"], "gold": 0}
    write_mirror(tmp_path / "mirror", {"test": [good, {**good, **change}, good], "train": [good]})
    with pytest.raises(InputError, match=said):
        run(checkpoints[0], ["toy_choice"], data_dir=tmp_path / "mirror")
    if "choices" in change:
        progress = SilentProgress()
        report = run(checkpoints[0], ["toy_choice"], data_dir=tmp_path / "mirror", skip_empty=True, progress=progress)
        assert report.rows[0]["n_items"] == 2
        assert any("item 1" in notice for notice in progress.notices)


GOOD = {"question": "why", "choices": ["a", "b", "c", "d"], "gold": 0}


@pytest.mark.parametrize("by_mirror", [True, False])
def test_a_malformed_first_item_is_named_though_lm_eval_stumbles_over_it(
    by_mirror: bool,
    checkpoints: list[Path],
    world: Path,
    run: Run,
    tmp_path: Path,
    write_mirror: MirrorWriter,
) -> None:
    def source(name: str, first: dict[str, Any]) -> dict[str, Any]:
        write_mirror(tmp_path / name, {"test": [{**GOOD, **first}, GOOD, GOOD], "train": [GOOD]})
        if by_mirror:
            return {"data_dir": tmp_path / name}
        data = tmp_path / name / "toy/choice/default/test.jsonl.gz"
        definition = (
            (world / "tasks" / "0.yaml")
            .read_text()
            .replace("training_split: train\n", "")
            .replace("toy/choice", f"json\ndataset_kwargs: {{data_files: {{test: {data}}}}}")
        )
        (tmp_path / name / "task.yaml").write_text(definition)
        return {"data_dir": None, "include_path": tmp_path / name}

    empty = source("empty", {"choices": ["a", "", "c", "d"]})
    with pytest.raises(InputError, match="task 'toy_choice', item 0: choice 1 is empty"):
        run(checkpoints[0], ["toy_choice"], **empty)
    assert run(checkpoints[0], ["toy_choice"], skip_empty=True, **empty).rows[0]["n_items"] == 2
    for gold in (-1, 4):
        with pytest.raises(InputError, match=f"task 'toy_choice', item 0: the answer {gold}"):
            run(checkpoints[0], ["toy_choice"], **source(f"gold{gold}", {"gold": gold}))


def test_white_space_is_text_as_it_is_for_lm_eval(
    checkpoints: list[Path], run: Run, tmp_path: Path, write_mirror: MirrorWriter
) -> None:
    write_mirror(tmp_path / "mirror", {"test": [{**GOOD, "choices": ["a", " ", "c", "d"]}, GOOD], "train": [GOOD]})
    for skip_empty in (False, True):
        report = run(checkpoints[0], ["toy_choice"], data_dir=tmp_path / "mirror", skip_empty=skip_empty)
        assert report.rows[0]["n_items"] == 2


def test_a_single_choice_is_no_question(checkpoints: list[Path], run: Run, tmp_path: Path, write_mirror: MirrorWriter) -> None:
    single = {**GOOD, "choices": ["a"]}
    write_mirror(tmp_path / "all", {"test": [single, single], "train": [GOOD]})
    with pytest.raises(InputError, match="'toy_choice' has one choice per item"):
        run(checkpoints[0], ["toy_choice"], data_dir=tmp_path / "all")
    write_mirror(tmp_path / "some", {"test": [GOOD, single, GOOD], "train": [GOOD]})
    progress = SilentProgress()
    assert run(checkpoints[0], ["toy_choice"], data_dir=tmp_path / "some", progress=progress).rows[0]["n_items"] == 3
    assert any("1 of 3 items have one choice" in notice and "item 1" in notice for notice in progress.notices)


def test_a_definition_that_cannot_be_read_is_named_with_the_reason(checkpoints: list[Path], run: Run, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/broken.yaml").write_text("task: mine\ndoc_to_text: [unclosed\n")
    with pytest.raises(InputError, match=r"'mine'.*broken\.yaml cannot be read.*line 3"):
        run(checkpoints[0], ["mine"], include_path=tmp_path / "tasks")
    assert not (tmp_path / "results.duckdb").exists()


def test_a_mirror_without_the_split_says_so(
    checkpoints: list[Path], run: Run, tmp_path: Path, write_mirror: MirrorWriter
) -> None:
    write_mirror(tmp_path / "mirror", {"train": [{"question": "why", "choices": ["a", "b"], "gold": 0}]})
    with pytest.raises(InputError, match=r"'test'.*only train"):
        run(checkpoints[0], ["toy_choice"], data_dir=tmp_path / "mirror")
    with pytest.raises(InputError, match="toy/choice"):
        run(checkpoints[0], ["toy_choice"], data_dir=tmp_path)


def test_whatever_a_foreign_backend_raises_is_one_line(
    checkpoints: list[Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer_nothing(self: Any, requests: Any, **_: Any) -> Any:
        raise TypeError("unsupported operand\n  of a masked model")

    monkeypatch.setattr("lm_eval.models.dummy.DummyLM.loglikelihood", answer_nothing)
    report = run(checkpoints[0], ["toy_choice"], backend="lm-eval:dummy")
    [failure] = report.failures
    assert "'lm-eval:dummy' with toy-0" in failure.error
    assert "TypeError: unsupported operand of a masked model" in failure.error
    with pytest.raises(ForecastError):
        report.raise_failures()
