"""Builds lm-eval's task objects, with their data, from definitions: stock ones as lm-eval does, a user's without their code."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import _import_func_in_yml

from forecast.core.errors import ForecastError, InputError
from forecast.core.failures import say_failure
from forecast.scoring.data_mirror import SPLIT_FIELDS, use_mirror
from forecast.scoring.task_expansion import TaskDefinition
from forecast.scoring.task_trust import check_untrusted, is_stock, without_remote_code
from forecast.scoring.task_yaml import FunctionReference
from forecast.scoring.template_renderer import TemplateRenderer, templates_through


class LmEvalTask(ConfigurableTask):  # type: ignore[misc, unused-ignore]
    """lm-eval's task; its constructor looks at the first item, and leaves it to rendering to judge it by name."""

    _is_constructed = False

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config=config)
        self._is_constructed = True

    @property
    def eval_docs(self) -> Any:
        """Return the items that are asked."""
        items = super().eval_docs
        if len(items) == 0:
            split = self.config.test_split or self.config.validation_split
            raise InputError(f"task '{self.config.task}' has no items: its split '{split}' is empty", expected="at least one")
        return items

    def doc_to_choice(self, doc: Any, doc_to_choice: Any = None) -> Any:
        """Return the item's choices; the constructor reads the first letter of each."""
        try:
            choices = super().doc_to_choice(doc, doc_to_choice)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise InputError(
                "doc_to_choice does not give a list",
                expected="a text such as \"['yes', 'no']\", or the name of a column of lists",
            ) from error
        if isinstance(choices, str):
            raise InputError(f"doc_to_choice gives the text {choices[:60]!r}", expected="a list of choices")
        if self._is_constructed or not isinstance(choices, list):
            return choices
        return [str(choice) or " " for choice in choices]

    def doc_to_target(self, doc: Any, doc_to_target: Any = None) -> Any:
        """Return the item's answer; the constructor looks its choice up."""
        target = super().doc_to_target(doc, doc_to_target)
        if self._is_constructed or not isinstance(target, int) or self.config.doc_to_choice is None:
            return target
        return 0 if self.doc_to_choice(doc) else ""


@contextmanager
def built_task(
    definition: TaskDefinition,
    *,
    data_dir: Path | None,
    trust_code: bool,
    renderer: TemplateRenderer,
    on_notice: Callable[[str], None],
) -> Iterator[Any]:
    """Give the task object; while it lasts, its templates are rendered by lm-eval, or through the renderer if not trusted.

    Raises:
        UsageError: the definition would run code of its own, and is not trusted.
        InputError: its data cannot be read, or it is malformed.
    """
    _quiet_third_parties()
    is_trusted = trust_code or is_stock(definition)
    config: dict[str, Any] = dict(definition.config)
    if not is_trusted:
        check_untrusted(definition)
        config = without_remote_code(config)
    with nullcontext() if is_trusted else templates_through(renderer):
        yield _build(definition, config, data_dir, on_notice)


def _build(definition: TaskDefinition, config: dict[str, Any], data_dir: Path | None, on_notice: Callable[[str], None]) -> Any:
    name = definition.name
    _check_fields(definition)
    try:
        config = _with_functions(config)
        config["metadata"] = {**config["metadata"], "config_source": str(definition.files[0])}
        if data_dir is not None:
            config = use_mirror(config, data_dir, on_notice)
        return _construct(config)
    except InputError as error:
        prefix = "" if name in error.found else f"task '{name}': "
        raise InputError(f"{prefix}{error.found}", expected=error.expected, remedy=error.remedy) from error
    except ForecastError:
        raise
    except KeyError as error:
        wanted = [split for split in map(config.get, SPLIT_FIELDS) if error.args == (split,)]
        what = f"its data have no split '{wanted[0]}'" if wanted else say_failure(error)
        raise InputError(
            f"task '{name}' cannot be loaded: {what}", expected="the splits and registered names that its definition asks for"
        ) from error
    except StopIteration as error:
        raise InputError(
            f"task '{name}' has no items: its data files are empty", expected="at least one JSON object, row or line"
        ) from error
    except ConnectionError as error:
        raise InputError(
            f"task '{name}': its data set cannot be downloaded ({say_failure(error)})",
            expected="a reachable hub or a cached data set",
            remedy="give `data_dir=` with a local mirror",
        ) from error
    except Exception as error:
        raise InputError(
            f"task '{name}' cannot be loaded: {say_failure(error)}",
            expected="a loadable lm-eval task and its data",
            remedy="check the task's YAML and data, or give `data_dir=`",
        ) from error


def _check_fields(definition: TaskDefinition) -> None:
    """Name what a definition lacks, before lm-eval fails because of it."""
    config, name = definition.config, definition.name
    if "class" in config:
        return
    if config.get("dataset_path") is None and not config.get("custom_dataset"):
        raise InputError(f"task '{name}' has no data: dataset_path is missing", expected="a hub id, or json with data_files")
    if not any(config.get(key) for key in ("test_split", "validation_split")):
        raise InputError(f"task '{name}' does not say which items are asked", expected="test_split or validation_split")
    if config.get("use_prompt") is None:
        for key in ("doc_to_text", "doc_to_target"):
            if config.get(key) is None:
                raise InputError(f"task '{name}' has no {key}", expected="a template, a column or a number")
    if config.get("output_type") == "multiple_choice" and config.get("doc_to_choice") is None:
        raise InputError(f"task '{name}' has no doc_to_choice", expected="the choices of multiple_choice: a list or a template")


def _with_functions(value: Any) -> Any:
    """Replace references by the functions that they name, as lm-eval's YAML loader does."""
    if isinstance(value, FunctionReference):
        return _import_func_in_yml(value.name, value.file.parent)
    if isinstance(value, Mapping):
        return {key: _with_functions(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_with_functions(entry) for entry in value]
    return value


def _construct(config: dict[str, Any]) -> Any:
    if "class" not in config:
        return LmEvalTask(config)
    kind = config["class"]
    if not callable(kind):
        raise InputError(f"task '{config['task']}' has the class {kind!r}", expected="class: !function module.NAME")
    # lm_eval/tasks/_factory.py, _build_task.
    task = kind(config=config) if "config" in inspect.signature(kind.__init__).parameters else kind()
    if hasattr(task, "config") and hasattr(task.config, "task"):
        task.config.task = config["task"]
    return task


def _quiet_third_parties() -> None:
    for name in ("lm_eval", "lm-eval", "datasets", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with suppress(AttributeError):
        datasets.disable_progress_bars()
