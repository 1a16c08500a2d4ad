"""Writes a task out: every prompt, choice and gold answer, exactly as lm-eval's own task objects render them."""

from __future__ import annotations

import hashlib
import inspect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass, replace
from typing import Any

import numpy as np

from forecast.core.errors import InputError, UsageError
from forecast.core.failures import say_failure
from forecast.core.hashing import content_hash
from forecast.core.records import ItemRecord, TaskRecord, make_item, task_label
from forecast.scoring.chat_templates import ChatPrompt
from forecast.scoring.requests import GenerationRequest, RenderedTask, TextRequest

LM_EVAL_FEWSHOT_SEED = 1234
"""lm-eval's default `fewshot_random_seed` (lm_eval/evaluator.py, simple_evaluate)."""

_DATA_SOURCE_FIELDS = ("dataset_path", "dataset_name", "dataset_kwargs", "custom_dataset", "metadata", "num_fewshot")
"""Not part of a definition's hash: the rendered items say what the data was, wherever it came from."""


def render_task(
    task: Any,
    *,
    name: str,
    num_fewshot: int | None,
    limit: int | None,
    fewshot_seed: int = LM_EVAL_FEWSHOT_SEED,
    skip_empty: bool = False,
    chat: ChatPrompt | None = None,
    is_trusted: bool = True,
    on_notice: Callable[[str], None] = lambda _: None,
) -> RenderedTask:
    """Return the task's items and requests, in lm-eval's order and with its few-shot draws.

    Answers are judged later by the task itself; `is_trusted` says whether its templates may then run outside of the sandbox.

    Raises:
        UsageError: the task cannot be asked with that many examples, or is not text.
        InputError: an item is malformed (empty choice, gold out of range); the message names it.
    """
    if getattr(task, "MULTIMODAL", False) or getattr(task, "UNSAFE_CODE", False):
        raise UsageError(f"task '{name}' needs images, audio or code execution", expected="a text task scored by likelihood")
    shots = _settle_fewshot(task, num_fewshot, fewshot_seed)
    label = task_label(name, shots)
    output_type = str(task.OUTPUT_TYPE)
    chat = _settle_chat(task, label, output_type, chat)
    items: list[ItemRecord] = []
    requests: list[TextRequest] = []
    generations: list[GenerationRequest] = []
    docs: dict[int, Any] = {}
    with _lm_eval_random_state():
        for item_idx, doc in task.doc_iterator(rank=0, limit=limit, world_size=1):
            try:
                item, asked, generated = _render_item(task, output_type, item_idx, doc, shots, chat)
            except InputError as error:
                raise InputError(
                    f"{label}, item {item_idx}: {error.found}", expected=error.expected, remedy=error.remedy
                ) from error
            except Exception as error:  # Templates and functions of others: whatever they raise, it is this item's.
                raise InputError(
                    f"{label}, item {item_idx} cannot be rendered: {say_failure(error)}",
                    expected=f"an item that can follow {shots} examples" if shots else "an item that fits the definition",
                ) from error
            if _has_empty_choice(item, label, skip_empty=skip_empty):
                on_notice(f"{name}: item {item_idx} has an empty choice and is left out")
                continue
            items.append(item)
            requests.extend(asked)
            if generated is not None:
                generations.append(generated)
                docs[item_idx] = doc
    if not items:
        raise InputError(f"task '{name}' has no items", expected="at least one")
    if output_type == "multiple_choice":
        _check_number_of_choices(items, name, on_notice)
    rendered = _rendered(task, name, shots, fewshot_seed, output_type, limit, items, requests, chat)
    return _with_answers(rendered, task, docs, generations, is_trusted=is_trusted)


def _with_answers(
    rendered: RenderedTask,
    task: Any,
    docs: Mapping[int, Any],
    generations: Sequence[GenerationRequest],
    *,
    is_trusted: bool,
) -> RenderedTask:
    """Add the answers to write, and who judges them."""
    if not generations:
        return rendered
    from forecast.scoring.answer_judge import LmEvalJudge  # It imports lm-eval, which takes a second.

    judge = LmEvalJudge(task, rendered.record.label, docs, is_trusted=is_trusted)
    return replace(rendered, generations=tuple(generations), judge=judge)


def _rendered(
    task: Any,
    name: str,
    shots: int,
    fewshot_seed: int,
    output_type: str,
    limit: int | None,
    items: list[ItemRecord],
    requests: list[TextRequest],
    chat: ChatPrompt | None,
) -> RenderedTask:
    seed = fewshot_seed if shots else None
    definition = content_hash([_definition(task), chat.identity] if chat else _definition(task))
    record = TaskRecord(
        task_id=_task_id(name, definition, shots, seed, output_type, items, requests),
        task=name,
        num_fewshot=shots,
        fewshot_seed=seed,
        # Task classes written in Python ask for each choice's likelihood by hand.
        output_type="multiple_choice" if len(items[0].choices) > 1 else output_type,
        definition_hash=definition,
        version=str(getattr(task, "VERSION", "") or ""),
        limit=limit,
        items=tuple(items),
        metadata={
            "lm_eval_process_results": callable(getattr(task.config, "process_results", None)),
            **(chat.identity if chat else {}),
        },
    )
    return RenderedTask(record=record, requests=tuple(requests))


def _has_empty_choice(item: ItemRecord, label: str, *, skip_empty: bool) -> bool:
    empty = [i for i, n_chars in enumerate(item.n_chars) if n_chars == 0]
    if empty and not skip_empty:
        raise InputError(
            f"{label}, item {item.item_idx}: choice {empty[0]} is empty",
            expected="text in every choice (a length-normalised score divides by its length)",
            remedy="repair the item, or pass `skip_empty=` to leave such items out",
        )
    return bool(empty)


def _check_number_of_choices(items: list[ItemRecord], name: str, on_notice: Callable[[str], None]) -> None:
    """A single choice is right by construction: a task of such items measures nothing, and single ones are reported."""
    single = [item.item_idx for item in items if len(item.choices) == 1]
    if len(single) == len(items):
        raise InputError(
            f"task '{name}' has one choice per item: every answer would be right",
            expected="two choices or more",
            remedy="for the likelihood of one text, write output_type: loglikelihood",
        )
    if single:
        on_notice(
            f"{name}: {len(single)} of {len(items)} items have one choice and are right by construction, item {single[0]} first"
        )


def _settle_fewshot(task: Any, num_fewshot: int | None, seed: int) -> int:
    """Set the number of examples as lm-eval's evaluator does: an explicit 0 in the task's own definition stays 0."""
    own = task.get_config("num_fewshot")
    shots = int(own or 0) if num_fewshot is None or own == 0 else num_fewshot
    task.set_config(key="num_fewshot", value=shots)
    task.set_fewshot_seed(seed=seed)
    return shots


@contextmanager
def _lm_eval_random_state() -> Iterator[None]:
    """Some tasks shuffle with the global generators: start them where lm-eval does, and leave them as they were."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(0)
    np.random.seed(1234)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def _settle_chat(task: Any, label: str, output_type: str, chat: ChatPrompt | None) -> ChatPrompt | None:
    """Return what changes the task's prompts; a text that is scored as it is has none."""
    if chat is None or not chat.settings or output_type == "loglikelihood_rolling":
        return None
    if "chat_template" not in _context_parameters(task):
        raise UsageError(
            f"{label} writes its prompts in Python of its own, without chat templates and system instructions",
            expected="a task that lm-eval writes out",
            remedy="leave `apply_chat_template=` and `system_instruction=` out for it",
        )
    return chat


def _context_parameters(task: Any) -> Mapping[str, Any]:
    return inspect.signature(inspect.unwrap(task.fewshot_context)).parameters


def _render_item(
    task: Any, output_type: str, item_idx: int, doc: Any, shots: int, chat: ChatPrompt | None
) -> tuple[ItemRecord, list[TextRequest], GenerationRequest | None]:
    around = chat.arguments if chat else {}
    context = task.fewshot_context(doc, num_fewshot=shots, **_prefix_argument(task, doc), **around)
    if output_type == "multiple_choice":
        return *_multiple_choice(task, item_idx, doc, context, _delimiter(task, chat)), None
    if output_type == "loglikelihood_rolling":
        text = _rolling_text(task, doc, context)
        request = TextRequest(item_idx=item_idx, choice_idx=0, context="", continuation=text, rolling=True)
        return make_item(item_idx, prompt="", choices=(text,), scored=(text,), golds=(0,)), [request], None
    if output_type == "loglikelihood":
        return *_plain_loglikelihood(task, item_idx, doc, context, chat), None
    gold = _gold_of_generation(task, item_idx, doc, context, _delimiter(task, chat))
    return *gold, _generation(task, item_idx, doc, context)


def _delimiter(task: Any, chat: ChatPrompt | None) -> str:
    """What joins an answer to its prompt; the model's turn of a chat begins with the answer (lm-eval, `construct_requests`)."""
    prefix = task.config.gen_prefix
    if chat is None or chat.template is None or (prefix and not str(prefix)[-1:].isspace()):
        return str(task.config.target_delimiter)
    return ""


def _prefix_argument(task: Any, doc: Any) -> dict[str, Any]:
    # Task classes written in Python override fewshot_context without this argument.
    if "gen_prefix" in _context_parameters(task):
        return {"gen_prefix": task.doc_to_prefix(doc)}
    return {}


def _multiple_choice(task: Any, item_idx: int, doc: Any, context: Any, delimiter: str) -> tuple[ItemRecord, list[TextRequest]]:
    choices = [str(choice) for choice in task.doc_to_choice(doc)]
    if not choices:
        raise InputError("it has no choices", expected="at least one")
    if task.multiple_input:
        # The choices stand in the context (WinoGrande): what is scored is one shared continuation.
        continuation = str(task.doc_to_target(doc))
        pairs = [(one, f"{delimiter}{continuation}") for one in context]
        gold = task.doc_to_text(doc)
        scored = (continuation,) * len(choices)
        item = make_item(item_idx, continuation, tuple(choices), scored, _golds(gold, choices))
    else:
        pairs = [(context, f"{delimiter}{choice}") for choice in choices]
        golds = _golds(task.doc_to_target(doc), choices)
        item = make_item(item_idx, context, tuple(choices), tuple(choices), golds)
    asked = [
        TextRequest(item_idx=item_idx, choice_idx=i, context=one, continuation=continuation)
        for i, (one, continuation) in enumerate(pairs)
    ]
    return item, asked


def _golds(gold: Any, choices: list[str]) -> tuple[int, ...]:
    entries = list(gold) if isinstance(gold, list | tuple) else [gold]
    indices = [choices.index(entry) if isinstance(entry, str) and entry in choices else entry for entry in entries]
    for entry in indices:
        if isinstance(entry, bool) or not isinstance(entry, int | np.integer) or not 0 <= entry < len(choices):
            raise InputError(
                f"the answer {entry!r} is not among its {len(choices)} choices",
                expected=f"an index from 0 to {len(choices) - 1}, or the text of a choice",
            )
    if not indices:
        raise InputError("it has no correct choice", expected="at least one")
    return tuple(int(entry) for entry in indices)


def _rolling_text(task: Any, doc: Any, context: Any) -> str:
    return str(task.construct_requests(doc=doc, ctx=context, metadata=(None, None, None)).args[0])


def _plain_loglikelihood(
    task: Any, item_idx: int, doc: Any, context: Any, chat: ChatPrompt | None
) -> tuple[ItemRecord, list[TextRequest]]:
    around = {name: chat.arguments[name] for name in ("apply_chat_template", "chat_template")} if chat else {}
    made = task.construct_requests(doc=doc, ctx=context, metadata=(None, None, None), **around)
    instances = made if isinstance(made, list) else [made]
    pairs = [(str(instance.args[0]), str(instance.args[1])) for instance in instances]
    gold = doc.get("gold", 0) if isinstance(doc, Mapping) and len(pairs) > 1 else 0
    texts = tuple(continuation.lstrip() for _, continuation in pairs)
    asked = [
        TextRequest(item_idx=item_idx, choice_idx=i, context=ctx, continuation=cont) for i, (ctx, cont) in enumerate(pairs)
    ]
    return make_item(item_idx, pairs[0][0], texts, texts, _golds(gold, list(texts))), asked


def _gold_of_generation(
    task: Any, item_idx: int, doc: Any, context: Any, delimiter: str
) -> tuple[ItemRecord, list[TextRequest]]:
    """A generation task contributes the likelihood of its gold answer, joined to the prompt as its examples are.

    Of several acceptable answers the first counts. A task that judges answers by rule (IFEval) has none.
    """
    gold = None if isinstance(task.config.doc_to_target, int) else task.doc_to_target(doc)
    if task.config.doc_to_choice is not None and isinstance(gold, int):
        gold = task.doc_to_choice(doc)[gold]
    first = gold[0] if isinstance(gold, list | tuple) and gold else gold
    text = "" if first is None or first == [] else str(first)
    if not text.strip():
        return make_item(item_idx, str(context), (), (), (0,)), []
    delimiter = "" if text[:1].isspace() else delimiter
    request = TextRequest(item_idx=item_idx, choice_idx=0, context=str(context), continuation=f"{delimiter}{text}")
    return make_item(item_idx, str(context), (text.lstrip(),), (text.lstrip(),), (0,)), [request]


def _generation(task: Any, item_idx: int, doc: Any, context: Any) -> GenerationRequest | None:
    """What lm-eval would send to `generate_until`; None for tasks in Python that ask for several things of an item."""
    repeats = int(task.config.repeats or 1)
    made = task.construct_requests(doc=doc, ctx=context, metadata=(None, item_idx, repeats))
    instances = made if isinstance(made, list) else [made]
    if len(instances) != 1 or instances[0].request_type != "generate_until":
        return None
    prompt, kwargs = instances[0].args[:2]
    return GenerationRequest(item_idx=item_idx, context=str(prompt), kwargs=kwargs, repeats=repeats)


def _definition(task: Any) -> Any:
    config = asdict(task.config) if is_dataclass(task.config) and not isinstance(task.config, type) else {}
    return {key: _plain(value) for key, value in config.items() if key not in _DATA_SOURCE_FIELDS and value is not None}


def _plain(value: Any) -> Any:
    """Canonical JSON form of a configuration; a function is given by its source text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if callable(value):
        try:
            return inspect.getsource(value)
        except (OSError, TypeError):
            return getattr(value, "__qualname__", type(value).__qualname__)
    return type(value).__qualname__


def _task_id(
    name: str,
    definition: str,
    shots: int,
    seed: int | None,
    output_type: str,
    items: list[ItemRecord],
    requests: list[TextRequest],
) -> str:
    digest = hashlib.sha256()
    for request in requests:
        digest.update(repr((request.item_idx, request.context, request.continuation)).encode("utf-8", errors="surrogatepass"))
    for item in items:
        # An item without a gold answer has no request whose prompt is part of the hash.
        asked = (item.item_idx, item.choices, item.gold, item.golds) if item.choices else (item.item_idx, item.prompt)
        digest.update(repr(asked).encode("utf-8", errors="surrogatepass"))
    return content_hash([name, definition, shots, seed, output_type, digest.hexdigest()])
