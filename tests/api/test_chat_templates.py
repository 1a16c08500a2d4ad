"""Chat templates, system instructions and examples as turns: lm-eval's prompts and numbers, kept apart from others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from forecast.api.evaluate import EvaluationReport
from forecast.core.errors import ForecastError, PartialResultError, UsageError
from forecast.store import Store

TURNS = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TURNS


def with_template(source: Path, folder: Path, template: str | dict[str, str]) -> Path:
    shutil.copytree(source, folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def chat(checkpoints: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_template(checkpoints[0], tmp_path_factory.mktemp("chat") / "chat-0", TURNS)


def lm_eval_samples(folder: Path, world: Path, tasks: list[str], shots: int, **options: Any) -> dict[str, list[Any]]:
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
        backend, tasks=tasks, num_fewshot=shots, task_manager=manager, bootstrap_iters=0, log_samples=True, **options
    )
    return {
        task: [[float(answer[0]) for answer in sample["filtered_resps"]] for sample in samples]
        for task, samples in found["samples"].items()
    }


def stored(folder: Path) -> dict[str, list[list[float]]]:
    query = "SELECT r.task, s.loglikelihoods FROM item_scores s JOIN runs r USING (run_id) ORDER BY r.task, s.item_idx"
    found: dict[str, list[list[float]]] = {}
    for part in Store(folder / "results.duckdb").query(query):
        for row in part.to_pylist():
            found.setdefault(row["task"], []).append(row["loglikelihoods"])
    return found


@pytest.mark.filterwarnings("ignore")  # lm-eval's evaluator warns of its own configuration.
@pytest.mark.parametrize(
    ("shots", "template", "options"),
    [
        (0, TURNS, {"apply_chat_template": True}),
        (2, TURNS, {"apply_chat_template": True, "system_instruction": "Be right."}),
        (2, TURNS, {"apply_chat_template": True, "fewshot_as_multiturn": False}),
        (2, NO_SYSTEM, {"apply_chat_template": True, "system_instruction": "Be right."}),
        (2, TURNS, {"system_instruction": "Be right.\n"}),
    ],
)
def test_scores_are_those_of_lm_eval_item_by_item(
    shots: int,
    template: str,
    options: dict[str, Any],
    chat: Path,
    world: Path,
    run: Callable[..., EvaluationReport],
    tmp_path: Path,
) -> None:
    folder = chat if template == TURNS else with_template(chat, tmp_path / "other", template)
    tasks = ["toy_choice", "toy_context", "toy_word"]
    multiturn = options.get("fewshot_as_multiturn", "apply_chat_template" in options)
    theirs = lm_eval_samples(folder, world, tasks, shots, **{**options, "fewshot_as_multiturn": multiturn})
    run(folder, tasks, num_fewshot=shots, **options)
    ours = stored(tmp_path)
    for task in tasks:
        assert len(ours[task]) == 30
        for own, other in zip(ours[task], theirs[task], strict=True):
            assert own == pytest.approx(other, abs=1e-3), task


def test_every_setting_is_a_result_of_its_own(chat: Path, run: Callable[..., EvaluationReport], tmp_path: Path) -> None:
    ways: list[dict[str, Any]] = [
        {},
        {"apply_chat_template": True},
        {"apply_chat_template": True, "fewshot_as_multiturn": False},
        {"apply_chat_template": True, "system_instruction": "a"},
        {"system_instruction": "a"},
        {"system_instruction": "b"},
    ]
    rows = [run(chat, ["toy_choice"], num_fewshot=1, **way).rows[0] for way in ways]
    assert len({row["run_id"] for row in rows}) == len(ways)
    again = [run(chat, ["toy_choice"], num_fewshot=1, **way).rows[0] for way in ways]
    assert again == rows
    [batch] = Store(tmp_path / "results.duckdb").query("SELECT count(DISTINCT definition) AS n FROM observations")
    assert batch.to_pylist() == [{"n": len(ways)}]


def test_members_with_other_templates_are_written_out_by_their_own(
    chat: Path, checkpoints: list[Path], run: Callable[..., EvaluationReport], tmp_path: Path
) -> None:
    other = with_template(checkpoints[1], tmp_path / "family" / "chat-1", TURNS.replace("<", "["))
    found = run([other, chat], ["toy_choice", "toy_text"], apply_chat_template=True)
    by_task = {task: {row["task_id"] for row in _tasks(tmp_path) if row["task"] == task} for task in ("toy_choice", "toy_text")}
    assert len(found.rows) == 4
    # A text that is scored as it is has no prompt, and is one task for both.
    assert {task: len(ids) for task, ids in by_task.items()} == {"toy_choice": 2, "toy_text": 1}


def _tasks(folder: Path) -> list[dict[str, Any]]:
    query = "SELECT task, task_id, metadata FROM tasks"
    return [row for part in Store(folder / "results.duckdb").query(query) for row in part.to_pylist()]


def test_what_defines_a_result_is_kept_with_its_task(chat: Path, run: Callable[..., EvaluationReport], tmp_path: Path) -> None:
    run(chat, ["toy_choice"], apply_chat_template=True, system_instruction="Be right.")
    kept = json.loads(_tasks(tmp_path)[0]["metadata"])
    assert kept["system_instruction"] == "Be right."
    assert kept["fewshot_as_multiturn"] is True
    assert len(kept["chat_template"]) == 16


def test_a_tokenizer_without_a_template_fails_alone(
    chat: Path, checkpoints: list[Path], run: Callable[..., EvaluationReport]
) -> None:
    report = run([checkpoints[1], chat], ["toy_choice"], apply_chat_template=True)
    assert len(report.rows) == 1
    with pytest.raises(PartialResultError, match="has no chat template"):
        report.check()
    with pytest.raises(ForecastError, match="has no chat template 'rag'; expected one of default"):
        run(chat, ["toy_choice"], apply_chat_template="rag").check()


def test_one_of_several_templates_is_named(chat: Path, run: Callable[..., EvaluationReport], tmp_path: Path) -> None:
    several = with_template(chat, tmp_path / "several", {"default": TURNS, "terse": TURNS.replace("<", "[")})
    rows = [run(several, ["toy_choice"], apply_chat_template=name).rows[0] for name in (True, "default", "terse")]
    assert rows[0]["run_id"] == rows[1]["run_id"] != rows[2]["run_id"]
    assert rows[0]["nll_per_char"] != rows[2]["nll_per_char"]


def test_turns_without_a_template_are_refused(chat: Path, run: Callable[..., EvaluationReport]) -> None:
    with pytest.raises(UsageError, match="apply_chat_template"):
        run(chat, ["toy_choice"], fewshot_as_multiturn=True)
