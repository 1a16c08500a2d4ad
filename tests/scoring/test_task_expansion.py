"""Groups and tags give way to their members as in lm-eval; what cannot be expanded is said by name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from forecast.core.errors import ForecastError, InputError, UsageError
from forecast.scoring.task_expansion import GROUP_FIELDS, TaskDefinition, expand_tasks
from forecast.scoring.task_index import own_index, stock_index
from forecast.scoring.task_yaml import FunctionReference

TASKS = {
    "a.yaml": "task: a\ntag: some\nnum_fewshot: 1\ndescription: {x: [1, 2]}\n",
    "b.yaml": "task: b\ntag: [some, others]\nmetadata: 2.0\n",
    "plain.yaml": "group: plain\ntask: [a, b]\n",
    "sets.yaml": "group: sets\nnum_fewshot: 3\ntask: [a, {task: b, num_fewshot: 4}, {task: new, dataset_path: json}]\n",
    "outer.yaml": "group: outer\nrepeats: 2\ntask:\n  - plain\n  - {group: sets, repeats: 5}\n  - {group: inside, task: [a]}\n",
    "tagged.yaml": "group: tagged\ntask: [some]\n",
}


def expand(folder: Path, *names: str, **more: str) -> list[TaskDefinition]:
    for name, text in {**TASKS, **{f"{key}.yaml": text for key, text in more.items()}}.items():
        (folder / name).write_text(text)
    return expand_tasks(names, own_index(folder)[0])


def test_members_are_found_and_get_what_their_groups_set(tmp_path: Path) -> None:
    found = {entry.name: entry.config for entry in expand(tmp_path, "sets")}
    assert {name: config["num_fewshot"] for name, config in found.items()} == {"a": 3, "b": 4, "sets::new": 3}
    assert found["sets::new"]["dataset_path"] == "json"
    assert found["b"]["metadata"] == {"_metadata": 2.0}
    assert all("tag" not in config and "group" not in config for config in found.values())
    assert [entry.name for entry in expand(tmp_path, "tagged", "some", "others")] == ["a", "b"]
    # Within one name the last mention counts.
    assert {entry.name: entry.config["repeats"] for entry in expand(tmp_path, "outer")} == {"a": 2, "b": 5, "sets::new": 5}
    assert [file.name for file in expand(tmp_path, "outer")[2].files] == ["sets.yaml", "outer.yaml"]


def test_a_task_is_asked_once_and_not_in_two_ways(tmp_path: Path) -> None:
    assert [entry.name for entry in expand(tmp_path, "a", "plain", "a", "b")] == ["a", "b"]
    with pytest.raises(UsageError, match="task 'a' is asked for twice with different settings: by 'a' and by 'sets'"):
        expand(tmp_path, "a", "sets")


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("group: bad\ntask: [a, gone]\n", "group 'bad' names 'gone', which no definition has"),
        ("group: bad\ntask: [a, bad]\n", "group 'bad' never ends: bad > bad"),
        ("group: bad\ntask: []\n", "group 'bad' has no members"),
        ("group: bad\ntask: a\n", "group 'bad' has no members"),
        ("group: bad\ntask: [5]\n", "group 'bad' has the member '5'"),
        ("group: bad\ntask: [{dataset_path: x}]\n", "group 'bad' has the member"),
        ("group: bad\ntask: [{group: inner, task: [{group: deeper, task: [gone]}]}]\n", "'bad::inner::deeper' names 'gone'"),
    ],
)
def test_a_group_that_cannot_be_expanded_is_named(definition: str, said: str, tmp_path: Path) -> None:
    for name in ("bad", str(tmp_path / "bad.yaml")):
        with pytest.raises(InputError, match=said):
            expand(tmp_path, name, bad=definition)


def test_groups_in_each_other_never_end(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="group 'one' never ends: one > two > one"):
        expand(tmp_path, "one", one="group: one\ntask: [two]\n", two="group: two\ntask: [{group: one, repeats: 2}]\n")


@pytest.mark.parametrize(
    "definition",
    [
        "task: t\nx: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"
        + "".join(
            f"y{i}: &b{i} [*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p}]\n"
            for i in range(9)
            for p in [f"b{i - 1}" if i else "a"]
        ),
        "task: t\nx: &a [*a]\n",
    ],
)
def test_aliases_do_not_multiply_without_end(definition: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than 1,000,000 entries"):
        expand(tmp_path, str(tmp_path / "t.yaml"), t=definition)


@pytest.mark.parametrize("included", ["/dev/zero", "pipe.yaml", "t.yaml", "gone.yaml", "5", "[a.yaml, a.yaml]", "a\\0b"])
def test_an_include_that_cannot_be_read_is_named(included: str, tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ForecastError, match=r"does not exist|is included twice|includes 5|cannot be read"):
        expand(
            tmp_path,
            str(tmp_path / "t.yaml"),
            t=f"include: {included if included[0] == '[' or included == '5' else chr(34) + included + chr(34)}\ntask: t\n",
        )


@pytest.mark.slow
def test_every_group_and_tag_of_lm_eval_is_expanded_as_lm_eval_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager, _factory

    class Outline(Task):
        __abstractmethods__ = frozenset()

        def __init__(self, config: dict[str, Any]) -> None:
            self.outline = config

        @property
        def task_name(self) -> str:
            return str(self.outline["task"])

    Outline.__abstractmethods__ = frozenset()
    load, loaded = _factory.load_yaml, {}

    def load_without_code(path: Any, **_: Any) -> Any:
        if path not in loaded:
            loaded[path] = load(path, resolve_func=False)
        return loaded[path]

    def outline(self: Any, entry: Any, overrides: Any) -> Outline:
        config = self._load_full_config(entry, overrides)
        return Outline({key: value for key, value in config.items() if key not in ("tag", "group", "task_list")})

    monkeypatch.setattr(_factory, "load_yaml", load_without_code)
    monkeypatch.setattr(_factory, "ConfigurableTask", Outline)
    monkeypatch.setattr(_factory.TaskFactory, "_build_task", outline)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    assert _factory.GROUP_FIELD_NAMES == GROUP_FIELDS
    manager, index = TaskManager(), stock_index()
    # lm-eval fails on three of its own groups, and names all members of a group within `openllm` like the group.
    for name in sorted({*manager.all_groups, *manager.all_tags} - {"t0_eval", "lingoly", "toksuite_abridged", "openllm"}):
        theirs = {key: task.outline for key, task in manager.load([name])["tasks"].items()}
        for config in theirs.values():
            config["metadata"].pop("config_source", None)
        ours = {entry.name: plain(entry.config) for entry in expand_tasks([name], index)}
        assert list(ours) == list(theirs), name
        assert ours == theirs, name


def plain(value: Any) -> Any:
    if isinstance(value, FunctionReference):
        return str(value.file.parent / value.name)
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list) else value
