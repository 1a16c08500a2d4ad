"""Judges answers by a task's own filters and metrics: lm-eval's task objects do the work, item by item."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from numbers import Number
from typing import Any

from lm_eval.api.instance import Instance

from forecast.core.answer_filters import preferred_filter
from forecast.core.errors import InputError, UsageError
from forecast.core.failures import say_failure
from forecast.scoring.requests import JudgedAnswer
from forecast.scoring.template_renderer import TemplateRenderer, templates_through

_YES_OR_NO = ("exact_match", "acc", "em", "accuracy", "pass@1", "contains", "prompt_level_strict_acc")
"""Metrics that say of one answer whether it is right, the first that a task has counts."""


class LmEvalJudge:
    """A task with its items."""

    def __init__(self, task: Any, name: str, docs: Mapping[int, Any], *, is_trusted: bool) -> None:
        """Keep the task; templates of one that is not trusted go through a renderer of their own."""
        self._task = task
        self._name = name
        self._docs = docs
        self._renderer = None if is_trusted else TemplateRenderer()
        if self._renderer is not None:
            weakref.finalize(self, self._renderer.close)

    def probe(self, item_idx: int, text: str) -> None:
        """Judge one text before anything is computed.

        Raises:
            UsageError: a metric needs a package that is not installed.
        """
        try:
            self._judge(item_idx, [text])
        except ImportError as error:
            package = getattr(error, "name", None) or say_failure(error)
            raise UsageError(
                f"a metric of {self._name} needs the package {package}",
                expected="an installed one",
                remedy=f"pip install {package}, or pass `gold_only=` to measure the gold answers' likelihood alone",
            ) from error
        except Exception:  # noqa: BLE001  # a made-up answer may be one that the task cannot read; a real one says so
            return

    def judge(self, item_idx: int, texts: Sequence[str]) -> Sequence[JudgedAnswer]:
        """Judge all answers to one item; where the task asks for several, the first carries lm-eval's number of them together.

        Raises:
            InputError: a filter or a metric fails on an answer; task and item are named.
        """
        try:
            found = [self._judge(item_idx, [text]) for text in texts]
            if 1 < len(texts) == int(self._task.config.repeats or 1):
                together = self._judge(item_idx, texts)
                found[0] = JudgedAnswer(
                    extracted=found[0].extracted, values={**found[0].values, **together.values}, correct=found[0].correct
                )
        except InputError:
            raise
        except Exception as error:  # Filters and metrics of others: whatever they raise, it is this item's.
            raise InputError(
                f"{self._name}, item {item_idx}: its answer cannot be judged: {say_failure(error)}",
                expected="filters and metrics that can read any text",
            ) from error
        return found

    def _judge(self, item_idx: int, texts: Sequence[str]) -> JudgedAnswer:
        doc = self._docs[item_idx]
        request = Instance(
            request_type="generate_until", doc=doc, arguments=("", {}), idx=0, metadata=(self._name, item_idx, len(texts))
        )
        request.resps = list(texts)
        extracted: dict[str, str] = {}
        values: dict[str, float] = {}
        correct: dict[str, bool] = {}
        with self._templates():
            for ensemble in self._task._filters:
                try:
                    ensemble.apply([request])
                except AssertionError:
                    if len(texts) > 1:
                        raise
                    continue  # A filter of several answers, and this is one of them by itself.
                read = request.filtered_resps[ensemble.name]
                extracted[ensemble.name] = _shown(read)
                metrics = self._task.process_results(doc, [read])
                values |= {f"{metric},{ensemble.name}": number for metric, number in self._numbers(metrics).items()}
                right = _is_right(metrics)
                if right is not None:
                    correct[ensemble.name] = right
        if not extracted:
            return JudgedAnswer(extracted={}, values={}, correct=None)
        first = preferred_filter(extracted)
        ordered = {first: extracted[first], **extracted}
        return JudgedAnswer(extracted=ordered, values=values, correct=correct.get(first))

    def _templates(self) -> AbstractContextManager[None]:
        return nullcontext() if self._renderer is None else templates_through(self._renderer)

    def _numbers(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Each metric's number for one item; what lm-eval aggregates over pairs (BLEU) is aggregated over this one."""
        found = {}
        aggregations: Mapping[str, Callable[[Any], Any]] = self._task.aggregation()
        for metric, value in metrics.items():
            number = _number(value)
            if number is None and metric in aggregations:
                number = _number(aggregations[metric]([value]))
            if number is not None:
                found[metric] = number
        return found


def _number(value: Any) -> float | None:
    if isinstance(value, Number) or hasattr(value, "item"):
        try:
            number = float(value)
        except (TypeError, ValueError):
            return None
        return number if math.isfinite(number) else None
    return None


def _is_right(metrics: Mapping[str, Any]) -> bool | None:
    for metric in _YES_OR_NO:
        number = _number(metrics.get(metric))
        if number is not None:
            return number == 1.0 if number in (0.0, 1.0) else None
    return None


def _shown(read: Any) -> str:
    while isinstance(read, list | tuple) and len(read) == 1:
        read = read[0]
    return read if isinstance(read, str) else repr(read)
