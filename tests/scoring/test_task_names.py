"""A task that nobody defines is refused before lm-eval's thousands of definitions are parsed; one that is defined never is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
from lm_eval.tasks._index import TaskIndex

from forecast.core.errors import UsageError
from forecast.scoring import task_source
from forecast.scoring.task_names import scan_definitions

LM_EVAL = Path(lm_eval.tasks.__file__).parent

DEFINITIONS = {
    "plain.yaml": "task: plain_task\ntag:\n  - listed_tag\n  - 'quoted-tag'\n",
    "json_like.yaml": '{"task": "json.task", "tag": "one_tag"}\r\n',
    "deep/from_template.yaml": "include: ../_template\n",
    "_template": 'task: "template_task" # the name\n',
    "group.yaml": "group: a_group\ntask: [member_one,member_two]\n",
    "spelled.yaml": 'task: "sp\\x65lled task"\n',
    "accents.yaml": "task: tâche_élan\n",
}


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    for name, text in DEFINITIONS.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "utils.py").write_text("TASKS = ['only_in_code']\n", encoding="utf-8")
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    return tmp_path


def test_every_name_of_an_index_is_possible(definitions: Path) -> None:
    index = TaskIndex.build([definitions])
    assert {"plain_task", "quoted-tag", "json.task", "one_tag", "template_task", "a_group", "spelled task"} <= set(index)
    possible, _plain = scan_definitions([*index, "nowhere_task"], definitions)
    assert possible == set(index)


def test_what_stands_nowhere_as_a_word_is_unknown(definitions: Path) -> None:
    unknown = ["plain_tas", "lain_task", "only_in_code", "nosuchtask"]
    possible, plain = scan_definitions(["member_two", *unknown], definitions)
    assert possible == {"member_two"}
    assert plain == ["a_group", "plain_task"]


@pytest.mark.parametrize("folder", ["arc", "mmlu", "glue", "hellaswag", "lambada", "gpqa", "wikitext"])
def test_no_name_of_lm_eval_is_taken_for_unknown(folder: str) -> None:
    index = TaskIndex.build([LM_EVAL / folder])
    assert index
    assert scan_definitions(list(index), LM_EVAL)[0] == set(index)


@pytest.mark.parametrize("included", [False, True])
def test_an_unknown_task_is_refused_without_lm_evals_index(
    definitions: Path, monkeypatch: pytest.MonkeyPatch, included: bool
) -> None:
    real = task_source.TaskManager

    def build(*, include_path: Path | None = None, include_defaults: bool = True) -> Any:
        assert not include_defaults, "lm-eval's own definitions are indexed"
        return real(include_path=include_path, include_defaults=False)

    monkeypatch.setattr(task_source, "TaskManager", build)
    (definitions / "dangling.yaml").unlink()
    folder = definitions if included else None
    with pytest.raises(UsageError, match=r"unknown task 'plain_taks'.*nearest: .*") as caught:
        task_source.find_tasks(["arc_easy", "plain_taks"], include_path=folder, data_dir=None, on_notice=str)
    assert ("plain_task" in caught.value.remedy) is included
    if included:
        found = task_source.find_tasks(["plain_task", "a_group"], include_path=folder, data_dir=None, on_notice=str)
        assert "a_group" in found.task_index
    with pytest.raises(AssertionError, match="are indexed"):
        task_source.find_tasks(["arc_easy"], include_path=folder, data_dir=None, on_notice=str)
