"""A user's definition runs no code of its own unless it is trusted, whichever way it tries; benign ones are rendered alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval.utils as lm_eval_utils
import pytest

from forecast.core.errors import ForecastError, InputError, UsageError
from forecast.core.progress import SilentProgress
from forecast.evaluation.tasks import RenderingSettings, render_tasks
from forecast.scoring.requests import RenderedTask
from forecast.scoring.task_index import lm_eval_folder
from forecast.scoring.task_source import find_tasks
from forecast.scoring.template_renderer import TemplateRenderer, templates_through

ITEM = {"question": "why", "choices": ["a", "b", "c"], "gold": 1}
Render = Callable[..., list[RenderedTask]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where an attacker's files lie; `ran` appears as soon as one of them runs."""
    (tmp_path / "evil").mkdir()
    (tmp_path / "items.jsonl").write_text("".join(json.dumps({**ITEM, "question": f"why {i}"}) + "\n" for i in range(4)))
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    for name in ("code.py", "script/script.py", "metric/metric.py", "lm_eval/tasks/arc/utils.py"):
        (tmp_path / "evil" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "evil" / name).write_text(
            code + "def run(*args, **kwargs):\n    return ['a', 'b', 'c']\nclass Task: pass\n"
        )
    return tmp_path / "evil"


@pytest.fixture
def render(folder: Path) -> Render:
    def render_definition(
        text: str | dict[str, Any], name: str = "mine", *, trust: bool = False, shots: int = 0
    ) -> list[RenderedTask]:
        (folder / "mine.yaml").write_text(text if isinstance(text, str) else json.dumps(text))
        found = find_tasks([name], include_path=folder, data_dir=None, on_notice=str)
        settings = RenderingSettings(
            num_fewshot=shots, limit=3, fewshot_seed=1234, skip_empty=False, data_dir=None, trust_code=trust
        )
        return render_tasks(found, settings, SilentProgress())[0]

    return render_definition


def definition(folder: Path, **changes: Any) -> dict[str, Any]:
    plain = {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder.parent / "items.jsonl")}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{question}}?",
        "doc_to_target": "{{gold}}",
        "doc_to_choice": "{{choices}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    return {key: value for key, value in {**plain, **changes}.items() if value is not None}


def with_tags(folder: Path, *tagged: str, **changes: Any) -> str:
    """YAML of a definition; text in `tagged` stands at its end, `!function` and all."""
    return "\n".join([*(f"{key}: {json.dumps(value)}" for key, value in definition(folder, **changes).items()), *tagged]) + "\n"


SHELL = "{{ cycler.__init__.__globals__.os.system('touch RAN') }}"
SUBCLASSES = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
FORMAT = "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}"


@pytest.mark.parametrize("template", [SHELL, SUBCLASSES, "{{ (question|attr('__class__')).mro() }}", FORMAT])
@pytest.mark.parametrize("field", ["doc_to_text", "doc_to_target", "doc_to_choice", "description", "gen_prefix"])
def test_no_template_reaches_python(template: str, field: str, folder: Path, render: Render) -> None:
    template = template.replace("RAN", str(folder.parent / "ran"))
    with pytest.raises(InputError, match=r"mine.*SecurityError"):
        render(definition(folder, **{field: template}))
    assert not (folder.parent / "ran").exists()


def test_the_examples_of_a_prompt_are_rendered_in_the_sandbox_too(folder: Path, render: Render) -> None:
    template = SHELL.replace("RAN", str(folder.parent / "ran"))
    with pytest.raises(InputError, match="SecurityError"):
        render(definition(folder, fewshot_split="test", fewshot_config={"doc_to_text": template}), shots=1)
    assert not (folder.parent / "ran").exists()


@pytest.mark.parametrize(
    "line",
    [
        "process_docs: !function code.run",
        "custom_dataset: !function code.run",
        "class: !function code.Task",
        "doc_to_target: !function code.run",
        "fewshot_config: {sampler: !function code.run}",
        "fewshot_config: {samples: !function code.run}",
        "metric_list: [{metric: !function code.run}]",
        "filter_list: [{name: x, filter: [{function: custom, filter_fn: !function code.run}]}]",
        "process_results: !function os.getcwd",
        "include: other_template",
        "include: lm_eval/tasks/arc/looks_like_stock.yaml",
    ],
)
def test_no_function_runs_and_trust_is_what_it_takes(line: str, folder: Path, render: Render) -> None:
    (folder / "other_template").write_text("process_docs: !function code.run\n")
    (folder / "lm_eval/tasks/arc/looks_like_stock.yaml").write_text("process_docs: !function utils.run\n")
    with pytest.raises(UsageError, match=r"task 'mine' (runs Python|is a Python class).*`trust_task_code=`"):
        render(with_tags(folder, line))
    assert not (folder.parent / "ran").exists()


def test_what_is_trusted_runs(folder: Path, render: Render) -> None:
    [task] = render(with_tags(folder, "doc_to_choice: !function code.run", doc_to_choice=None), trust=True)
    assert task.record.items[0].choices == ("a", "b", "c")
    assert (folder.parent / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset_path": "SCRIPT/script.py"}, "a Python script"),
        ({"dataset_path": "SCRIPT/script", "dataset_kwargs": {"trust_remote_code": True}}, "a Python script"),
        ({"dataset_path": "pandas", "dataset_kwargs": {"data_files": "SCRIPT/x.pkl"}}, "the reader 'pandas'"),
        ({"metric_list": [{"metric": "SCRIPT/metric"}]}, "the evaluate library"),
        ({"metric_list": [{"metric": "acc", "hf_evaluate": True}]}, "the evaluate library"),
        ({"use_prompt": "promptsource:x"}, "its prompt from elsewhere"),
        ({"use_prompt": "SCRIPT/prompts.yaml:x"}, "its prompt from elsewhere"),
    ],
)
def test_no_script_pickle_or_metric_is_loaded(changes: dict[str, Any], said: str, folder: Path, render: Render) -> None:
    changed = json.loads(json.dumps(changes).replace("SCRIPT", str(folder)))
    with pytest.raises(UsageError, match=f"task 'mine' .*{said}.*`trust_task_code=`"):
        render(definition(folder, **changed))
    assert not (folder.parent / "ran").exists()


def test_a_definition_does_not_inherit_trust_from_a_stock_name_group_or_include(folder: Path, render: Render) -> None:
    template = SHELL.replace("RAN", str(folder.parent / "ran"))
    data = {key: definition(folder)[key] for key in ("dataset_path", "dataset_kwargs", "test_split", "metric_list")}
    replaced = {"training_split": None, "validation_split": None, "dataset_name": None, "doc_to_text": template, **data}
    stock = str(lm_eval_folder() / "tasks" / "arc" / "arc_easy.yaml")
    group = {"group": "mine", "task": [{"task": "arc_easy", **replaced}]}
    inline = {"group": "mine", "task": [{"task": "new", **definition(folder, doc_to_text=template, task=None)}]}
    cases = [
        (definition(folder, task="arc_easy", doc_to_text=template), "arc_easy"),
        ({"include": stock, "task": "mine", **replaced}, "mine"),
        (group, "mine"),
        (inline, "mine"),
        ({"group": "mine", "task": ["arc_easy"], **replaced}, "mine"),
    ]
    for text, name in cases:
        with pytest.raises(InputError, match="SecurityError"):
            render(text, name)
        assert not (folder.parent / "ran").exists()


def test_stock_functions_may_be_included(folder: Path, render: Render) -> None:
    (folder.parent / "items.jsonl").write_text(
        json.dumps({"ind": 1, "activity_label": "A", "ctx_a": "x", "ctx_b": "y", "endings": ["p", "q"], "label": "1"}) + "\n"
    )
    stock = str(lm_eval_folder() / "tasks" / "hellaswag" / "hellaswag.yaml")
    source = {key: definition(folder)[key] for key in ("dataset_path", "dataset_kwargs", "test_split")}
    [task] = render({"include": stock, "task": "mine", "training_split": None, "validation_split": None, **source})
    assert task.record.items[0].prompt == "A: x Y"


def test_benign_definitions_give_the_same_requests_in_the_sandbox(folder: Path, render: Render) -> None:
    for changes in (
        {},
        {"doc_to_text": "{% for c in choices %}{{loop.index}}. {{c}}\n{% endfor %}{{question|trim|upper}}\n"},
        {
            "doc_to_text": "{{question|regex_replace('w', 'W')}} {{'é\\u2028'}} {{choices|random}}",
            "doc_to_target": "{{choices[gold]}}",
        },
        {"doc_to_choice": ["a", "b", "c"], "doc_to_target": "gold", "description": "Q&A:\n", "target_delimiter": ""},
        {"output_type": "loglikelihood", "doc_to_choice": None, "doc_to_target": " {{choices[gold]}}", "fewshot_split": "test"},
        {"fewshot_split": "test", "fewshot_config": {"sampler": "first_n", "doc_to_text": "E {{question}}"}},
    ):
        shots = 2 if "fewshot_split" in changes else 0
        free, bound = (render(definition(folder, **changes), trust=trust, shots=shots) for trust in (True, False))
        assert bound == free


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "did not come to an end"),
        ("{{ ('a' * 40 ~ '!')|regex_replace('(a+)+$', '') }}", "did not come to an end"),
        ("{{ 9 ** (9 ** 9) }}", "did not come to an end"),
        ("{% for a in range(10 ** 12) %}{% endfor %}", "OverflowError: Range too big"),
        ("{{ 'a' * 10 ** 10 }}", "more memory"),
        ("{{ 'a' * 20000000 }}", "20,000,000 characters"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    ],
)
def test_a_template_without_end_is_ended(template: str, said: str, folder: Path) -> None:
    with TemplateRenderer(seconds_per_text=1.0 if "did not" in said else 60.0) as renderer:
        with pytest.raises(InputError, match=said) as caught:
            renderer.render(template, ITEM)
        assert "the template '" in str(caught.value) or 'the template "' in str(caught.value)
        assert renderer.render("{{question}}", ITEM) == "why"


def test_the_task_of_a_template_without_end_is_named(folder: Path, render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    real = TemplateRenderer
    monkeypatch.setattr("forecast.scoring.template_renderer.TemplateRenderer", lambda: real(seconds_per_text=1.0))
    endless = (
        "{% if question == 'why 2' %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}"
    )
    with pytest.raises(InputError, match=r"task 'mine', item 2: the template .* did not come to an end within 1 seconds"):
        render(definition(folder, doc_to_text=endless + "{{question}}"))


def test_what_lm_eval_renders_another_way_meets_the_sandbox_too(folder: Path) -> None:
    import jinja2
    from lm_eval.utils import apply_template, env

    with TemplateRenderer() as renderer, templates_through(renderer), pytest.raises(jinja2.exceptions.SecurityError):
        apply_template(SHELL.replace("RAN", str(folder.parent / "ran")), ITEM)
    assert not (folder.parent / "ran").exists()
    assert type(lm_eval_utils.env) is type(env) is jinja2.Environment
    assert lm_eval_utils.apply_template is apply_template


def test_the_renderer_takes_no_module_from_where_the_user_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jinja2", "json", "pickle", "forecast"):
        (folder / f"{name}.py").write_text((folder / "code.py").read_text())
    monkeypatch.chdir(folder)
    with TemplateRenderer() as renderer:
        assert renderer.render("{{question}}", ITEM) == "why"
    assert not (folder.parent / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"doc_to_text": None}, "task 'mine' has no doc_to_text"),
        ({"doc_to_target": None}, "task 'mine' has no doc_to_target"),
        ({"doc_to_choice": None}, "task 'mine' has no doc_to_choice"),
        ({"dataset_path": None}, "task 'mine' has no data: dataset_path is missing"),
        ({"test_split": None}, "task 'mine' does not say which items are asked"),
        ({"test_split": "dev"}, "task 'mine' cannot be loaded: its data have no split 'dev'"),
        ({"fewshot_split": "dev"}, "task 'mine' cannot be loaded: its data have no split 'dev'"),
        ({"dataset_kwargs": {"data_files": {"test": "/gone.jsonl"}}}, "task 'mine'.*gone.jsonl"),
        ({"dataset_kwargs": {"data_files": {"test": "EMPTY"}}}, "task 'mine'"),
        ({"doc_to_choice": "{{question}}"}, "doc_to_choice does not give a list"),
        ({"doc_to_choice": "question"}, "doc_to_choice gives the text 'why 0'"),
        ({"doc_to_choice": "{{[]}}"}, "task 'mine', item 0: it has no choices"),
        ({"doc_to_choice": []}, "task 'mine', item 0: it has no choices"),
        ({"doc_to_target": 7}, "task 'mine', item 0: the answer 7 is not among its 3 choices"),
        ({"doc_to_target": "{{missing}}"}, "task 'mine': the template '{{missing}}' .*'missing' is undefined"),
        ({"doc_to_choice": "[" * 500 + "]" * 500}, "task 'mine': doc_to_choice does not give a list"),
        ({"output_type": "guess"}, "task 'mine' cannot be loaded: ValueError: Got invalid output_type 'guess'"),
        ({"metric_list": 5}, "task 'mine' cannot be loaded"),
        ({"no_such_field": 5}, "task 'mine' cannot be loaded: TypeError.*no_such_field"),
    ],
)
def test_a_malformed_definition_is_named_in_a_line_with_content(
    changes: dict[str, Any], said: str, folder: Path, render: Render
) -> None:
    (folder.parent / "empty.jsonl").write_text("")
    changed = json.loads(json.dumps(changes).replace("EMPTY", str(folder.parent / "empty.jsonl")))
    with pytest.raises(ForecastError, match=said) as caught:
        render(definition(folder, **changed))
    line = str(caught.value)
    assert "\n" not in line
    assert " at 0x" not in line
    assert "StopIteration" not in line
    assert ": ;" not in line


def test_a_split_without_items_is_named(folder: Path, render: Render) -> None:
    (folder / "lm_eval_filter.py").write_text("def none(items):\n    return items.filter(lambda item: False)\n")
    with pytest.raises(InputError, match="task 'mine' has no items: its split 'test' is empty"):
        render(with_tags(folder, "process_docs: !function lm_eval_filter.none"), trust=True)
