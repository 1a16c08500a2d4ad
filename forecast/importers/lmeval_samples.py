"""lm-eval's samples files: every document with its requests and loglikelihoods, as items and scored results.

Traps: one row per document and filter; `arg_1` begins with the delimiter; numbers are written as strings; acc_mutual_info
adds a second half of requests without context; generated text has no loglikelihood.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forecast.core.errors import InputError
from forecast.core.hashing import content_hash
from forecast.core.records import ItemRecord, make_item
from forecast.importers.lmeval_json import parse_json, whole
from forecast.importers.text_lines import TextFile

_LARGEST_INDEX = 2**31 - 1
_MOST = 0.01
"""A loglikelihood is at most 0, but for rounding; more than this is another quantity."""


@dataclass(frozen=True, kw_only=True)
class SampledItem:
    """One document: the item and what the model answered."""

    item: ItemRecord
    loglikelihoods: tuple[float, ...]
    is_greedy: tuple[bool, ...]
    unconditional: tuple[float, ...]
    """Loglikelihoods without context, where acc_mutual_info asked for them."""
    words: int | None
    """Words of a rolling text, as the file counts them."""


@dataclass(frozen=True, kw_only=True)
class SampledTask:
    """A samples file."""

    path: Path
    output_type: str
    items: tuple[SampledItem, ...]


class NoLoglikelihoodsError(InputError):
    """The samples hold generated text, or no answer can be told to be the correct one: only aggregates can be used."""


def read_samples(path: Path, config: Mapping[str, Any] | None) -> SampledTask:
    """Read a samples file; `config` is the task's configuration in the results file.

    Raises:
        NoLoglikelihoodsError: the task has no loglikelihoods, or the correct choice cannot be told.
        InputError: unreadable, or a row is malformed; names the line.
    """
    config = config or {}
    output_type = str(config.get("output_type") or "")
    if output_type == "generate_until":
        raise NoLoglikelihoodsError(f"{path.name} holds generated text", expected="loglikelihoods")
    delimiter = config.get("target_delimiter")
    items: dict[int, SampledItem] = {}
    responses: dict[int, int] = {}
    for place, row in _rows(path):
        index = whole(row.get("doc_id"))
        if index is None or index > _LARGEST_INDEX:
            raise InputError(f"{place}: doc_id is {row.get('doc_id')!r}", expected="a whole number")
        response = hash(str(row.get("resps")))
        if index in items:
            # The same document under another filter: filters change `filtered_resps` alone.
            if responses[index] != response:
                raise InputError(
                    f"{place}: document {index} has different responses from the ones above", expected="one answer to each"
                )
            continue
        responses[index] = response
        kind = output_type or _guess_type(row)
        output_type = kind
        items[index] = _read_item(place, row, index, kind, delimiter if isinstance(delimiter, str) else " ")
    if not items:
        raise InputError(f"{path} is empty", expected="one JSON object per line")
    return SampledTask(path=path, output_type=output_type, items=tuple(items[index] for index in sorted(items)))


def find_samples(folder: Path, task: str, date: str) -> Path | None:
    """Return the samples file of a task, compressed or not; None where there is none."""
    candidates = [folder / f"samples_{task}_{date}.jsonl{suffix}" for suffix in ("", ".gz")]
    return next((path for path in candidates if path.exists()), None)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(TextFile(path, expected="an lm-eval samples file").lines(), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = parse_json(line)
        except ValueError as error:
            raise InputError(f"{place} is not JSON: {error}", remedy="the file may be cut off") from error
        if not isinstance(row, dict):
            raise InputError(f"{place} is not an object", expected="one JSON object per line")
        yield place, row


def _guess_type(row: Mapping[str, Any]) -> str:
    arguments = row.get("arguments")
    if isinstance(arguments, dict) and len(arguments) > 1:
        return "multiple_choice"
    first: object = next(iter(arguments.values()), None) if isinstance(arguments, dict) else None
    return "loglikelihood" if isinstance(first, dict) and "arg_1" in first else "loglikelihood_rolling"


def _read_item(place: str, row: Mapping[str, Any], index: int, output_type: str, delimiter: str) -> SampledItem:
    requests = _requests(place, row)
    answers = [_answer(place, response) for response in _list(place, row, "resps")]
    if len(answers) != len(requests):
        raise InputError(f"{place} has {len(requests)} requests and {len(answers)} responses", expected="one for each")
    if output_type in ("loglikelihood", "loglikelihood_rolling") and len(requests) > 1:
        raise InputError(f"{place} has {len(requests)} requests", expected=f"one, as the task's output_type is {output_type}")
    if output_type == "loglikelihood_rolling":
        return _rolling(row, index, requests[0][0], answers[0][0])
    unconditional: tuple[float, ...] = ()
    if output_type == "multiple_choice" and "acc_mutual_info" in _names(row) and len(requests) % 2 == 0:
        half = len(requests) // 2
        unconditional = tuple(value for value, _ in answers[half:])
        requests, answers = requests[:half], answers[:half]
    values, greedy = zip(*answers, strict=True)
    contexts = [context for context, _ in requests]
    texts = [text.removeprefix(delimiter) for _, text in requests]
    # Tasks like WinoGrande put the choices into the context and score one continuation.
    choices_are_contexts = len(set(contexts)) > 1 and len(set(texts)) == 1
    golds = _golds(place, row, texts, values) if output_type == "multiple_choice" else (0,)
    choices = tuple(contexts if choices_are_contexts else texts)
    item = make_item(index, texts[0] if choices_are_contexts else contexts[0], choices, texts, golds)
    return SampledItem(item=item, loglikelihoods=values, is_greedy=greedy, unconditional=unconditional, words=None)


def _rolling(row: Mapping[str, Any], index: int, text: str, value: float) -> SampledItem:
    pairs = {
        name: row[name] for name in ("byte_perplexity", "bits_per_byte", "word_perplexity") if isinstance(row.get(name), list)
    }
    stated = pairs.get("byte_perplexity") or pairs.get("bits_per_byte")
    # The task may count the bytes of the raw text and score a cleaned one: its own count is its definition.
    n_bytes = int(stated[1]) if stated else len(text.encode("utf-8", errors="surrogatepass"))
    words = int(pairs["word_perplexity"][1]) if "word_perplexity" in pairs else None
    item = ItemRecord(
        item_idx=index,
        prompt="",
        choices=(text,),
        gold=0,
        prompt_hash=content_hash(""),
        n_chars=(len(text),),
        n_bytes=(n_bytes,),
    )
    return SampledItem(item=item, loglikelihoods=(value,), is_greedy=(False,), unconditional=(), words=words)


def _list(place: str, row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    if not isinstance(value, list) or not value:
        raise InputError(
            f"{place}: {name} is {str(value)[:60]!r}", expected="a list", remedy="was it logged with --log_samples?"
        )
    return value


def _names(row: Mapping[str, Any]) -> set[str]:
    metrics = row.get("metrics")
    return {name for name in metrics if isinstance(name, str)} if isinstance(metrics, list) else set(row)


def _requests(place: str, row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(context, continuation) of every request; today an object of objects, formerly a list of lists."""
    arguments = row.get("arguments")
    if isinstance(arguments, dict):
        ordered = [arguments[f"gen_args_{i}"] for i in range(len(arguments)) if f"gen_args_{i}" in arguments]
        pairs = [(entry.get("arg_0"), entry.get("arg_1", "")) for entry in ordered if isinstance(entry, dict)]
    elif isinstance(arguments, list):
        pairs = [(entry[0], entry[1] if len(entry) > 1 else "") for entry in arguments if isinstance(entry, list) and entry]
    else:
        pairs = []
    requests = [(context, text) for context, text in pairs if isinstance(context, str) and isinstance(text, str)]
    if not requests or len(requests) != len(arguments or ()):
        raise InputError(f"{place}: arguments are {str(arguments)[:80]!r}", expected="requests with arg_0 and arg_1")
    return requests


def _answer(place: str, response: Any) -> tuple[float, bool]:
    """Unwrap [[loglikelihood, is_greedy]]; both may be strings."""
    while isinstance(response, list) and len(response) == 1:
        response = response[0]
    value, greedy = response if isinstance(response, list) and len(response) == 2 else (response, False)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number <= _MOST):
        raise InputError(f"{place}: a response is {str(response)[:60]!r}", expected="a finite loglikelihood, at most 0")
    return number, greedy is True or str(greedy) == "True"


def _golds(place: str, row: Mapping[str, Any], texts: Sequence[str], values: Sequence[float]) -> tuple[int, ...]:
    """The correct choices: `target` is an index, a list of them, a choice's text, or a continuation that all share."""
    target = row.get("target")
    listed = _as_indices(target)
    matches = [index for index, text in enumerate(texts) if text.strip() == str(target).strip()]
    candidates = []
    if listed is not None and all(0 <= index < len(texts) for index in listed):
        candidates.append(listed)
    if len(matches) == 1 and (matches[0],) not in candidates:
        candidates.append((matches[0],))
    accuracy = row.get("acc")
    best = max(range(len(values)), key=lambda index: (values[index], -index))
    if len(candidates) > 1 and accuracy in (0, 1):
        # Numbers as choices: whether the model was right may tell which reading is meant.
        candidates = [golds for golds in candidates if (best in golds) == bool(accuracy)]
    if len(candidates) == 1:
        return candidates[0]
    if listed is not None and not candidates:
        raise InputError(f"{place}: target is {target!r}", expected=f"a choice from 0 to {len(texts) - 1}")
    if listed is None and accuracy in (0, 1) and (accuracy or len(values) == 2):
        return (best,) if accuracy else (1 - best,)
    raise NoLoglikelihoodsError(f"{place}: target {str(target)[:60]!r} does not say which of {len(texts)} choices is correct")


def _as_indices(target: object) -> tuple[int, ...] | None:
    if isinstance(target, int) and not isinstance(target, bool):
        return (target,)
    if not isinstance(target, str):
        return None
    try:
        value = ast.literal_eval(target.strip())
    except (ValueError, SyntaxError):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    indices = isinstance(value, list) and value and all(type(entry) is int for entry in value)
    return tuple(sorted(set(value))) if indices else None
