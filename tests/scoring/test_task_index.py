"""Names are found where lm-eval finds them, in a fraction of the time; what is remembered is noticed to be out of date."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
from lm_eval.tasks._index import Kind
from lm_eval.tasks._index import TaskIndex as LmEvalIndex

from forecast.core import user_cache
from forecast.core.errors import InputError, UsageError
from forecast.scoring import task_index
from forecast.scoring.task_index import Glance, build_index, own_index, stock_index
from forecast.scoring.task_source import find_tasks, read_task_names

LM_EVAL = Path(lm_eval.tasks.__file__).parent
KINDS = {Kind.TASK: "task", Kind.PY_TASK: "class", Kind.GROUP: "group", Kind.TAG: "tag"}

DEFINITIONS = {
    "plain.yaml": "task: plain_task\ntag:\n  - listed_tag\n  - 'quoted-tag'\n",
    "json_like.yaml": '{"task": "json.task", "tag": "one_tag"}\r\n',
    "deep/from_template.yaml": "include: ../_template\n",
    "deep/overrides.yaml": "include: ../_template\ntask: own_name\n",
    "_template": 'task: "template_task" # the name\ntag: shared_tag\n',
    "group.yaml": "group: a_group\ntask: [plain_task,\n  own_name]\n",
    "spelled.yaml": 'task: "sp\\x65lled task"\n',
    "accents.yaml": "task: tâche_élan\n",
    "quoted.yaml": 'description: "first\ntask: not_this"\ntask: quoted_task\n',
    "flow.yaml": "doc_to_choice: ['a',\n'b']\ntask: flow_task\n",
    "block.yaml": "doc_to_text: |\n  task: not_this_either\n\ntask: block_task # why\n",
    "anchored.yaml": "x: &name anchored_task\ntask: *name\n",
    "word.yaml": "task: yes\n",
    "class.yaml": "class: !function utils.Mine\ntask: class_task\ntag: [class_tag]\n",
    "twice.yaml": "task: plain_task\ntag: later_tag\n",
    "circle.yaml": "include: circle.yaml\ntask: circle_task\n",
    "broken.yaml": "task: [unclosed\n",
    "nothing.yaml": "",
    "list.yaml": "- task: in_a_list\n",
    "nowhere.yaml": "include: missing.yaml\ntask: without_its_include\n",
    "number.yaml": "task: 5\n",
}


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    for name, text in DEFINITIONS.items():
        path = tmp_path / "definitions" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "definitions" / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "definitions" / "around.yaml").symlink_to(tmp_path / "definitions" / "around.yaml")
    return tmp_path / "definitions"


def as_told(index: Any) -> dict[str, Any]:
    return {entry.name: (entry.kind, entry.path, entry.members) for entry in index.values()}


def as_lm_eval_tells(folders: list[Path]) -> dict[str, Any]:
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    found = {name: entry for name, entry in LmEvalIndex.build(folders).items() if isinstance(name, str)}
    return {
        name: (
            KINDS[entry.kind],
            None if entry.yaml_path is None else str(entry.yaml_path),
            tuple(sorted(entry.tags)) if entry.kind is Kind.TAG else (),
        )
        for name, entry in found.items()
    }


def test_a_glance_finds_what_lm_eval_finds_by_parsing(definitions: Path) -> None:
    expected = as_lm_eval_tells([definitions])
    assert {"plain_task", "template_task", "a_group", "quoted_task", "spelled task", "anchored_task", "class_tag"} <= set(
        expected
    )
    assert as_told(build_index(str(definitions), Glance())) == expected
    assert as_told(own_index(definitions)[0]) == expected


def test_what_cannot_be_read_is_named(definitions: Path) -> None:
    broken = own_index(definitions)[1]
    for name in ("broken", "nothing", "list", "circle", "missing"):
        assert any(f"{name}.yaml" in line for line in broken), name


@pytest.mark.parametrize("folder", ["arc", "mmlu", "glue", "hellaswag", "lambada", "gpqa", "wikitext", "squadv2"])
def test_lm_evals_own_folders_are_indexed_alike(folder: str) -> None:
    assert as_told(build_index(str(LM_EVAL / folder), Glance())) == as_lm_eval_tells([LM_EVAL / folder])


@pytest.mark.slow
def test_the_whole_index_is_lm_evals() -> None:
    assert as_told(stock_index()) == as_lm_eval_tells([LM_EVAL.resolve()])


@pytest.fixture
def small_lm_eval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "lm_eval"
    (package / "tasks").mkdir(parents=True)
    (package / "tasks" / "one.yaml").write_text("task: one\n")
    monkeypatch.setattr(task_index, "lm_eval_folder", lambda: package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return package


def test_the_index_is_kept_until_a_file_changes(small_lm_eval: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stock_index()
    assert list(first) == ["one"]
    with monkeypatch.context() as patch:
        patch.setattr(task_index, "build_index", lambda *_: pytest.fail("indexed again"))
        assert stock_index() == first
    (small_lm_eval / "tasks" / "one.yaml").write_text("task: other\n")
    assert list(stock_index()) == ["other"]
    (small_lm_eval / "tasks" / "two.yaml").write_text("task: two\n")
    assert list(stock_index()) == ["other", "two"]
    (small_lm_eval / "tasks" / "one.yaml").unlink()
    assert list(stock_index()) == ["two"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"format": 1}', b"[" * 100_000, None])
def test_a_damaged_cache_is_built_anew(content: bytes | None, small_lm_eval: Path, tmp_path: Path) -> None:
    stock_index()
    [kept] = (tmp_path / "cache" / "forecast" / "task_index").iterdir()
    whole = kept.read_bytes()
    if content is None:
        changed = json.loads(whole)
        changed["entries"]["one"][1] = "../../elsewhere.yaml"
        content = json.dumps(changed).encode()
    kept.write_bytes(content)
    assert stock_index()["one"].path == str(small_lm_eval / "tasks" / "one.yaml")
    assert kept.read_bytes() == whole


def test_without_a_place_to_remember_the_index_is_built_each_time(
    small_lm_eval: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert list(stock_index()) == ["one"]
    monkeypatch.setattr(user_cache, "cache_folder", lambda: None)
    assert list(stock_index()) == ["one"]


def test_unknown_names_show_near_ones_whatever_their_capitals(small_lm_eval: Path) -> None:
    (small_lm_eval / "tasks" / "arc.yaml").write_text("task: arc_easy\n")
    for asked in ("ARC_Easy", "arc-easy", "arc_eazy"):
        with pytest.raises(UsageError, match=f"unknown task '{asked}'.*did you mean 'arc_easy'"):
            find_tasks(["one", asked], include_path=None, data_dir=None, on_notice=str)
    with pytest.raises(UsageError, match="see `forecast tasks`"):
        find_tasks(["zzzzzzzz"], include_path=None, data_dir=None, on_notice=str)
    with pytest.raises(UsageError, match="unknown task 'zzzz"):
        find_tasks(["z" * 9999], include_path=None, data_dir=None, on_notice=str)


def test_a_users_folder_goes_before_lm_eval_and_a_path_names_a_task(small_lm_eval: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.yaml").write_text("task: one\ndescription: mine\n")
    found = find_tasks(["one"], include_path=own, data_dir=None, on_notice=str)
    assert [entry.config["description"] for entry in found] == ["mine"]
    by_path = find_tasks([str(own / "mine.yaml")], include_path=None, data_dir=None, on_notice=str)
    assert [entry.config for entry in by_path] == [found[0].config]
    (own / "empty.yaml").write_text("description: nameless\n")
    with pytest.raises(InputError, match=r"empty.yaml names no task"):
        find_tasks([str(own / "empty.yaml")], include_path=None, data_dir=None, on_notice=str)


def test_task_lists_are_read_with_care() -> None:
    assert read_task_names("") == []
    assert read_task_names(" b, a,b ,, a") == ["b", "a"]
    with pytest.raises(UsageError, match="`tasks=` ' , ,' names no task"):
        read_task_names(" , ,")
