"""`evaluate` from folders to stored rows: lm-eval's accuracies, resuming, identities."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from forecast.api.evaluate import EvaluationReport, evaluate
from forecast.core.checkpoint_note import CheckpointNote, write_note
from forecast.core.progress import SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.scoring import checkpoint_sweep, packed_forward
from forecast.store import Store


def lm_eval_results(folder: Path, world: Path, tasks: list[str], shots: int | None) -> dict[str, dict[str, float]]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._factory import TaskFactory

    from forecast.scoring.data_mirror import use_mirror

    class MirrorTaskFactory(TaskFactory):
        def _load_full_config(self, entry: Any, overrides: Any = None) -> dict[str, Any]:
            return use_mirror(super()._load_full_config(entry, overrides), world / "data", lambda _: None)

    manager = TaskManager(include_path=world / "tasks", include_defaults=False)
    manager._factory = MirrorTaskFactory()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    backend = HFLM(pretrained=model, tokenizer=transformers.AutoTokenizer.from_pretrained(folder), batch_size=4)
    found = lm_eval.simple_evaluate(
        backend, tasks=tasks, num_fewshot=shots, task_manager=manager, bootstrap_iters=0, log_samples=False
    )
    return {task: {name.split(",")[0]: value for name, value in row.items()} for task, row in found["results"].items()}


@pytest.mark.filterwarnings("ignore")  # lm-eval's evaluator warns of its own configuration.
@pytest.mark.parametrize("shots", [0, 3])
def test_accuracies_are_those_of_lm_eval(
    shots: int, checkpoints: list[Path], world: Path, run: Callable[..., EvaluationReport]
) -> None:
    tasks = ["toy_choice", "toy_context", "toy_word"]
    if shots == 0:  # lm-eval cannot write an example that has several answers by index.
        tasks.append("toy_golds")
    theirs = lm_eval_results(checkpoints[0], world, tasks, shots)
    ours = {str(row["task"]): row for row in run(checkpoints[0], tasks, num_fewshot=shots).rows}
    for task in tasks:
        assert ours[task]["acc"] == pytest.approx(theirs[task]["acc"], abs=1e-12), task
        assert ours[task]["num_fewshot"] == shots
    assert ours["toy_choice"]["acc_norm"] == pytest.approx(theirs["toy_choice"]["acc_norm"], abs=1e-12)
    assert np.exp(ours["toy_word"]["nll_gold"]) == pytest.approx(theirs["toy_word"]["perplexity"], rel=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_rolling_text_gives_lm_evals_byte_perplexity(
    checkpoints: list[Path], world: Path, run: Callable[..., EvaluationReport], tmp_path: Path
) -> None:
    theirs = lm_eval_results(checkpoints[0], world, ["toy_text"], 0)["toy_text"]["byte_perplexity"]
    run(checkpoints[0], ["toy_text"])
    [(total, n_bytes)] = ask(
        tmp_path, "SELECT sum(nll_gold), sum(i.n_bytes[1]) FROM item_metrics JOIN items i USING (item_idx)"
    )
    assert np.exp(float(total) / float(n_bytes)) == pytest.approx(theirs, rel=1e-5)


def test_a_generation_task_contributes_the_likelihood_of_its_answer(
    checkpoints: list[Path], run: Callable[..., EvaluationReport]
) -> None:
    written, choice = (run(checkpoints[0], [name]).rows[0] for name in ("toy_written", "toy_choice"))
    assert written["nll_gold"] == pytest.approx(choice["nll_gold"], abs=1e-5)
    assert written["output_type"] == "generate_until"


def ask(folder: Path, query: str) -> list[tuple[Any, ...]]:
    parts = Store(folder / "results.duckdb").query(query)
    return [tuple(row.values()) for part in parts for row in part.to_pylist()]


def test_an_interrupted_evaluation_goes_on_where_it_stopped(
    checkpoints: list[Path], run: Callable[..., EvaluationReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = packed_forward.PackedModel.score_batch
    calls: list[int] = []

    def interrupted(self: Any, batch: Any, target: Any) -> Any:
        calls.append(len(batch.tokens))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return honest(self, batch, target)

    monkeypatch.setattr(packed_forward.PackedModel, "score_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoints[0], ["toy_choice"], token_budget=100)
    Store(tmp_path / "results.duckdb").commit()
    [(kept,)] = ask(tmp_path, "SELECT count(*) FROM item_scores")
    assert 0 < kept < 30
    monkeypatch.setattr(packed_forward.PackedModel, "score_batch", honest)
    resumed = run(checkpoints[0], ["toy_choice"], token_budget=100).rows[0]
    whole = run(checkpoints[0], ["toy_choice"], db=tmp_path / "other.duckdb").rows[0]
    assert resumed["n_items"] == 30
    assert resumed["tokens_computed"] < whole["tokens_computed"]
    assert resumed["nll_per_char"] == pytest.approx(whole["nll_per_char"], abs=1e-6)
    assert resumed["run_id"] == whole["run_id"]


def test_what_is_stored_is_neither_loaded_nor_computed_again(
    checkpoints: list[Path], run: Callable[..., EvaluationReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(checkpoints[:2], ["toy_choice", "toy_word"])
    monkeypatch.setattr(checkpoint_sweep, "load_checkpoint", lambda *_, **__: pytest.fail("loaded again"))
    assert run(checkpoints[:2], ["toy_choice", "toy_word"]).rows == first.rows


def test_results_of_different_definitions_are_kept_apart(checkpoints: list[Path], run: Callable[..., EvaluationReport]) -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"num_fewshot": 2},
        {"num_fewshot": 2, "fewshot_seed": 5},
        {"limit": 10},
        {"dtype": "float64"},
        {"deterministic": True},
        {"backend": "lm-eval:hf"},
    ]
    rows = [run(checkpoints[0], ["toy_choice"], **variant).rows[0] for variant in variants]
    rows.append(run(checkpoints[1], ["toy_choice"]).rows[0])
    assert len({row["run_id"] for row in rows}) == len(rows)
    assert rows[0]["run_id"] == run(checkpoints[0], ["toy_choice"], fewshot_seed=7).rows[0]["run_id"]
    for other in rows[4:7]:
        assert other["nll_per_char"] == pytest.approx(rows[0]["nll_per_char"], abs=1e-5)


def test_groups_are_expanded(checkpoints: list[Path], run: Callable[..., EvaluationReport]) -> None:
    assert {row["task"] for row in run(checkpoints[0], ["toy_group"]).rows} == {"toy_choice", "toy_word"}


def test_the_note_speaks_where_flags_do_not(checkpoints: list[Path], world: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(checkpoints[0], tmp_path / "noted"))
    write_note(
        folder,
        CheckpointNote(family="toys", model="toy-s", step=7, tokens=1000, is_final=False, validation_loss=2.5),
    )
    settings: dict[str, Any] = {"tasks": ["toy_choice"], "include_path": world / "tasks", "data_dir": world / "data"}
    [noted] = evaluate([CheckpointRequest(source=str(folder))], db=tmp_path / "a.duckdb", **settings).rows
    assert (noted["family"], noted["model"], noted["step"], noted["tokens"]) == ("toys", "toy-s", 7, 1000)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert noted["params"] == sum(parameter.numel() for parameter in model.parameters())
    assert noted["flops"] == 6 * noted["params"] * 1000
    assert noted["is_final"] is False
    asked = CheckpointRequest(source=str(folder), family="mine", tokens=5, params=10)
    [flagged] = evaluate([asked], db=tmp_path / "b.duckdb", **settings).rows
    assert (flagged["family"], flagged["tokens"], flagged["params"], flagged["flops"]) == ("mine", 5, 10, 300)


def test_lm_evals_own_backends_answer_the_same_requests(checkpoints: list[Path], run: Callable[..., EvaluationReport]) -> None:
    native = run(checkpoints[0], ["toy_choice", "toy_text"]).rows
    through = run(checkpoints[0], ["toy_choice", "toy_text"], backend="lm-eval:hf,batch_size=2").rows
    for ours, theirs in zip(native, through, strict=True):
        assert theirs["backend"] == "lm-eval:hf"
        assert theirs["nll_per_char"] == pytest.approx(ours["nll_per_char"], abs=1e-4)
        assert theirs["acc"] == ours["acc"]
        assert theirs["nll_per_token"] == pytest.approx(ours["nll_per_token"], abs=1e-4)


def test_a_backend_without_a_folder_is_stored_and_resumed(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from forecast.evaluation.model_names import request_of_backend
    from forecast.evaluation.scorers import lm_eval as through_lm_eval

    settings: dict[str, Any] = {
        "tasks": ["toy_choice"],
        "db": tmp_path / "results.duckdb",
        "include_path": world / "tasks",
        "data_dir": world / "data",
        "backend": "lm-eval:dummy",
    }
    first = evaluate([request_of_backend("lm-eval:dummy")], **settings)
    assert first.rows[0]["n_items"] == 30
    monkeypatch.setattr(through_lm_eval, "open_backend", lambda *_, **__: pytest.fail("opened again"))
    assert evaluate([request_of_backend("lm-eval:dummy")], **settings).rows == first.rows


STOCK = {
    "arc_easy": "arc",
    "sciq": "sciq",
    "piqa": "piqa",
    "winogrande": "winogrande",
    "boolq": "super_glue/boolq",
    "copa": "super_glue/copa",
    "openbookqa": "openbookqa",
    "mmlu_anatomy": "mmlu/default",
    "lambada_openai": "lambada",
    "blimp_passive_1": "blimp",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shots", [0, 2])
def test_stock_tasks_run_on_a_mirror_as_lm_eval_runs_them(
    shots: int, data_folder: Path, checkpoints: list[Path], run: Callable[..., EvaluationReport]
) -> None:
    """Requests of stock tasks, rendered by us and by lm-eval's own loop, are the same texts in the same order."""
    from forecast.scoring.rendering import render_task
    from forecast.scoring.task_building import built_task
    from forecast.scoring.task_source import find_tasks
    from forecast.scoring.template_renderer import TemplateRenderer

    mirror = data_folder / "benchmarks"
    for definition in find_tasks(list(STOCK), include_path=None, data_dir=mirror, on_notice=str):
        name = definition.name
        with built_task(definition, data_dir=mirror, trust_code=False, renderer=TemplateRenderer(), on_notice=str) as task:
            rendered = render_task(task, name=name, num_fewshot=shots, limit=6)
            task.set_fewshot_seed(seed=1234)
            task.build_all_requests(limit=6)
            expected = [instance.args for instance in task.instances]
            assert [(request.context, request.continuation) for request in rendered.requests] == expected, name
            for item, (doc_id, doc) in zip(rendered.record.items, task.doc_iterator(limit=6), strict=True):
                assert item.item_idx == doc_id
                gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
                if rendered.record.output_type == "multiple_choice":
                    assert gold in (item.gold, item.choices[item.gold]), name


@pytest.mark.parametrize("folder", ["hellaswag", "hellaswag/default"])
def test_the_shipped_definitions_read_a_mirror_with_or_without_a_default_folder(folder: str, tmp_path: Path) -> None:
    from forecast.core.resources import data_folder
    from forecast.evaluation.tasks import RenderingSettings, write_out_tasks
    from forecast.scoring.task_source import find_tasks

    item = {"id": "0", "question": "Baking: A man", "choices": ["swims.", "bakes.", "flies.", "is"], "gold": 1}
    (tmp_path / folder).mkdir(parents=True)
    with gzip.open(tmp_path / folder / "validation.jsonl.gz", "wt", encoding="utf-8") as handle:
        handle.write(json.dumps(item) + "\n")
    definitions = data_folder("tasks") / "lm_eval"
    found = find_tasks(["hellaswag_text"], include_path=definitions, data_dir=tmp_path, on_notice=str)
    settings = RenderingSettings(
        num_fewshot=0, limit=None, fewshot_seed=1234, skip_empty=False, data_dir=tmp_path, trust_code=False
    )
    [rendered] = write_out_tasks(found, settings, SilentProgress())
    assert [(request.context, request.continuation) for request in rendered.requests] == [
        ("Baking: A man", f" {choice}") for choice in item["choices"]
    ]
    assert rendered.record.items[0].gold == 1


def test_the_results_file_is_there_while_the_data_are_loaded(
    checkpoints: list[Path], run: Callable[..., EvaluationReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forecast.api import evaluate as workflow

    real = workflow.write_out_tasks
    seen: list[object] = []

    def look(*arguments: Any) -> Any:
        seen.extend(Store(tmp_path / "results.duckdb").query("SELECT count(*) AS n FROM scores"))
        return real(*arguments)

    monkeypatch.setattr(workflow, "write_out_tasks", look)
    run(checkpoints[0], ["toy_word"])
    [batch] = seen
    assert batch.to_pylist() == [{"n": 0}]  # type: ignore[attr-defined]


def test_a_text_of_names_is_a_list_of_tasks(checkpoints: list[Path], run: Callable[..., EvaluationReport]) -> None:
    report = run(checkpoints[0], "toy_word, toy_choice,toy_word")  # type: ignore[arg-type]
    assert [row["task"] for row in report.rows] == ["toy_choice", "toy_word"]
