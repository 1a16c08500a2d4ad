"""What was written out once is known again, without lm-eval and the data, as long as nothing that decides has changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forecast.core.errors import InputError
from forecast.core.progress import SilentProgress
from forecast.evaluation import tasks as evaluate_tasks
from forecast.evaluation.tasks import RenderingSettings, write_out_tasks
from forecast.scoring import task_memory
from forecast.scoring.requests import RenderedTask
from forecast.scoring.task_memory import LateSequence
from forecast.scoring.task_source import find_tasks

ITEMS = [{"question": f"why {i}", "choices": ["a", "b"], "gold": 0} for i in range(5)]
DEFINITION = """
task: kept
dataset_path: some/set
output_type: multiple_choice
test_split: test
validation_split: validation
doc_to_text: "{{question}}?"
doc_to_target: gold
doc_to_choice: choices
"""


ONE_SPLIT = DEFINITION.replace("validation_split: validation\n", "")


class Kitchen:
    """Tasks on a mirror, and how often they were rendered."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tasks, self.mirror = root / "tasks", root / "mirror"
        self.data = self.mirror / "some" / "set" / "default" / "test.jsonl"
        self.definition = self.tasks / "kept.yaml"
        self.tasks.mkdir()
        self.data.parent.mkdir(parents=True)
        self.write_items(ITEMS)
        self.definition.write_text(DEFINITION)
        self.rendered = 0
        self.progress = SilentProgress()
        real = evaluate_tasks.render_tasks

        def count(*arguments: Any) -> Any:
            self.rendered += 1
            return real(*arguments)

        monkeypatch.setattr(evaluate_tasks, "render_tasks", count)
        monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))

    def write_items(self, items: list[dict[str, Any]]) -> None:
        self.data.write_text("".join(json.dumps(item) + "\n" for item in items))

    def cook(self, *names: str, **changes: Any) -> list[RenderedTask]:
        settings = {"num_fewshot": None, "limit": None, "fewshot_seed": 1234, "skip_empty": False, "trust_code": False}
        definitions = find_tasks(names or ["kept"], include_path=self.tasks, data_dir=self.mirror, on_notice=str)
        made = RenderingSettings(**{**settings, "data_dir": self.mirror, **changes})
        return write_out_tasks(definitions, made, self.progress)


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    return Kitchen(tmp_path, monkeypatch)


def test_a_task_known_from_before_is_the_same_and_rendered_only_when_looked_at(kitchen: Kitchen) -> None:
    [first] = kitchen.cook()
    [again] = kitchen.cook()
    assert kitchen.rendered == 1
    assert (again.record.task_id, len(again.record.items), len(again.requests)) == (first.record.task_id, 5, 10)
    assert kitchen.rendered == 1
    assert tuple(again.requests) == first.requests
    assert again.requests[2:4] == first.requests[2:4]
    assert list(again.record.items) == list(first.record.items)
    assert again.record.metadata == first.record.metadata
    assert kitchen.rendered == 2


def change_item(kitchen: Kitchen) -> None:
    # The same size, and the same times: only the content tells.
    before = kitchen.data.stat()
    kitchen.write_items([{**ITEMS[0], "gold": 1}, *ITEMS[1:]])
    os.utime(kitchen.data, ns=(before.st_atime_ns, before.st_mtime_ns))


def add_split(kitchen: Kitchen) -> None:
    (kitchen.data.parent / "validation.jsonl").write_text(json.dumps(ITEMS[0]) + "\n")


def change_include(kitchen: Kitchen) -> None:
    (kitchen.tasks / "template").write_text(DEFINITION.replace("?", "!"))
    kitchen.definition.write_text("include: template\n")


CHANGES: list[Callable[[Kitchen], Any]] = [
    change_item,
    add_split,
    change_include,
    lambda kitchen: kitchen.write_items(ITEMS[:4]),
    lambda kitchen: kitchen.definition.write_text(DEFINITION.replace("?", "!")),
    lambda kitchen: kitchen.definition.write_text(DEFINITION + "num_fewshot: 0\n"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_noticed(change: Callable[[Kitchen], Any], kitchen: Kitchen) -> None:
    kitchen.cook()
    change(kitchen)
    kitchen.cook()
    assert kitchen.rendered == 2


@pytest.mark.parametrize(
    "change", [{"limit": 2}, {"num_fewshot": 0}, {"fewshot_seed": 1}, {"skip_empty": True}, {"trust_code": True}]
)
def test_other_settings_are_other_tasks(change: dict[str, Any], kitchen: Kitchen) -> None:
    kitchen.cook()
    kitchen.cook(**change)
    assert kitchen.rendered == 2


@pytest.mark.parametrize("part", ["lm_eval_state", "_package_state", "version"])
def test_another_installation_is_noticed(part: str, kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    kitchen.cook()
    monkeypatch.setattr(task_memory, part, lambda *_: "other")
    kitchen.cook()
    assert kitchen.rendered == 2


def test_notices_are_repeated(kitchen: Kitchen) -> None:
    kitchen.data.rename(kitchen.data.with_name("validation.jsonl"))
    for _ in range(2):
        kitchen.cook()
    assert kitchen.rendered == 1
    assert [text for text in kitchen.progress.notices if "no 'test' split" in text] == [kitchen.progress.notices[0]] * 2


@pytest.mark.parametrize(
    "line",
    [
        "process_docs: !function mine.same",
        "dataset_kwargs: {data_files: {test: 'DATA/*.jsonl'}}\ndataset_path: json",
        "dataset_kwargs: {data_dir: DATA}\ndataset_path: json",
    ],
)
def test_what_cannot_be_recognised_is_not_remembered(line: str, kitchen: Kitchen) -> None:
    (kitchen.tasks / "mine.py").write_text("def same(items):\n    return items\n")
    folder = str(kitchen.data.parent)
    plain = DEFINITION if "function" in line else ONE_SPLIT.replace("dataset_path: some/set\n", "")
    kitchen.definition.write_text(plain + line.replace("DATA", folder) + "\n")
    for _ in range(2):
        kitchen.cook(trust_code=True)
    assert kitchen.rendered == 2


def test_data_files_of_a_definition_are_recognised(kitchen: Kitchen) -> None:
    source = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {kitchen.data}}}}}"
    kitchen.definition.write_text(ONE_SPLIT.replace("dataset_path: some/set", source))
    for items, expected in ((ITEMS, 1), (ITEMS, 1), (ITEMS[:3], 2), (ITEMS[:3], 2)):
        kitchen.write_items(items)
        [task] = kitchen.cook(data_dir=None)
        assert (len(task.record.items), kitchen.rendered) == (len(items), expected)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"x": 1}', "\0"])
def test_a_damaged_memory_is_an_empty_one(content: str, kitchen: Kitchen, tmp_path: Path) -> None:
    [first] = kitchen.cook()
    memory = tmp_path / "cache" / "forecast" / "tasks.json"
    whole = json.loads(memory.read_text())
    memory.write_text(content)
    assert kitchen.cook() == [first]
    for key in whole:
        whole[key]["outline"]["n_items"] = 4
    memory.write_text(json.dumps(whole))
    assert kitchen.cook() == [first]
    assert kitchen.rendered == 3


def test_one_unknown_task_among_known_ones_is_rendered_with_them(kitchen: Kitchen) -> None:
    kitchen.cook()
    (kitchen.tasks / "second.yaml").write_text(DEFINITION.replace("task: kept", "task: second"))
    assert [len(task.record.items) for task in kitchen.cook("kept", "second")] == [5, 5]
    assert kitchen.rendered == 2
    kitchen.cook("second")
    assert kitchen.rendered == 2


def test_a_task_that_draws_at_random_never_passes_for_another(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.cook()
    memory = tmp_path / "cache" / "forecast" / "tasks.json"
    kept = json.loads(memory.read_text())
    [entry] = kept.values()
    entry["outline"]["record"]["task_id"] = entry["task_id"] = "another"
    entry["check"] = task_memory.content_hash(entry["outline"])
    memory.write_text(json.dumps(kept))
    [late] = kitchen.cook()
    assert late.record.task_id == "another"
    with pytest.raises(InputError, match=r"task 'kept' is rendered differently from last time.*run the same command again"):
        list(late.requests)
    for expected in (3, 4):
        [task] = kitchen.cook()
        assert isinstance(task.requests, tuple)
        assert kitchen.rendered == expected


def test_late_entries_are_made_once_asked_for() -> None:
    made = []
    late = LateSequence(2, lambda: made.append(1) or ("a", "b"))
    assert len(late) == 2
    assert not made
    assert list(late) == ["a", "b"]
    assert late[1] == "b"


def test_a_known_task_needs_neither_lm_eval_nor_its_data_libraries(kitchen: Kitchen) -> None:
    kitchen.cook()
    code = f"""
import sys
from pathlib import Path
from forecast.core.progress import SilentProgress
from forecast.scoring.task_source import find_tasks
from forecast.evaluation.tasks import RenderingSettings, write_out_tasks
mirror = Path({str(kitchen.mirror)!r})
found = find_tasks(["kept"], include_path=Path({str(kitchen.tasks)!r}), data_dir=mirror, on_notice=str)
settings = RenderingSettings(
    num_fewshot=None, limit=None, fewshot_seed=1234, skip_empty=False, data_dir=mirror, trust_code=False
)
[task] = write_out_tasks(found, settings, SilentProgress())
print(len(task.record.items), [name for name in ("torch", "lm_eval", "datasets", "jinja2", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "5 []\n"
