"""Benchmark cards: what a task is, how it is asked by default, and which measures to read, from tasks/*.yaml.

docs/families.md documents every field. A card never holds scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from forecast.catalog.located import Field, read_located
from forecast.core.errors import UsageError
from forecast.core.metrics import ACCURACY_METRICS, NLL_METRICS
from forecast.core.nearest import suggest
from forecast.core.resources import data_folder


@dataclass(frozen=True, kw_only=True)
class BenchmarkCard:
    """One benchmark."""

    name: str
    """The card's file name, and the name of the lm-eval task or group unless `lm_eval_task` differs."""
    title: str
    lm_eval_task: str
    """Name of the stock lm-eval task, group or tag; empty where the task comes with a YAML of its own."""
    num_fewshot: int
    """Shots that the field reports this task with."""
    accuracy_metric: str
    """The accuracy to forecast: acc, acc_norm or acc_bytes."""
    nll_metric: str
    """The smooth measure between compute and accuracy."""
    chance: float
    """Accuracy of guessing, a fraction; 0 where answers are generated."""
    items: int | None
    """Items of the split that is scored; None where the card's source does not say."""
    split: str
    dataset: str
    """Hub id of the data set."""
    dataset_config: str
    licence: str
    licence_source: str
    source: str
    """Web address of the benchmark's definition (paper or data card)."""
    items_source: str
    note: str
    path: Path
    aliases: tuple[str, ...] = ()
    """Other names that tables give the same benchmark; case, `-`, `_` and shots in a name need none."""
    members: tuple[str, ...] = ()
    """The tasks of a group, such as MMLU's subjects: what is true of the card is true of each."""


def read_benchmark(path: Path) -> BenchmarkCard:
    """Read and validate one benchmark card.

    Raises:
        InputError: naming file, line and field.
    """
    root = read_located(path)
    entries = root.entries(
        required=("task", "title", "num_fewshot", "accuracy_metric", "nll_metric", "chance", "source"),
        optional=(
            "lm_eval_task",
            "aliases",
            "members",
            "items",
            "split",
            "dataset",
            "dataset_config",
            "licence",
            "note",
        ),
    )
    name = entries["task"].text()
    if name != path.stem:
        raise entries["task"].error(f"is {name!r}", expected=f"the file's name, {path.stem!r}")
    licence = entries["licence"].entries(required=("value", "source")) if "licence" in entries else None
    items, items_source = _read_items(entries.get("items"))
    return BenchmarkCard(
        name=name,
        title=entries["title"].text(),
        lm_eval_task=entries["lm_eval_task"].text() if "lm_eval_task" in entries else "",
        num_fewshot=entries["num_fewshot"].whole(),
        accuracy_metric=entries["accuracy_metric"].one_of(ACCURACY_METRICS),
        nll_metric=entries["nll_metric"].one_of(NLL_METRICS),
        chance=entries["chance"].number(maximum=1.0),
        items=items,
        split=entries["split"].text() if "split" in entries else "",
        dataset=entries["dataset"].text() if "dataset" in entries else "",
        dataset_config=entries["dataset_config"].text() if "dataset_config" in entries else "",
        licence=licence["value"].text() if licence else "",
        licence_source=licence["source"].url() if licence else "",
        source=entries["source"].url(),
        items_source=items_source,
        note=entries["note"].text() if "note" in entries else "",
        path=path,
        aliases=_read_names(entries.get("aliases")),
        members=_read_names(entries.get("members")),
    )


def _read_names(field: Field | None) -> tuple[str, ...]:
    names: list[str] = []
    for entry in field.elements() if field is not None else []:
        name = entry.text()
        if name in names:
            raise entry.error(f"repeats '{name}'", expected="each name once")
        names.append(name)
    return tuple(names)


def _read_items(field: Field | None) -> tuple[int | None, str]:
    if field is None:
        return None, ""
    parts = field.entries(required=("value", "source"))
    return parts["value"].whole(minimum=1), parts["source"].url()


def benchmark_names() -> list[str]:
    """Names of all benchmarks that have a card."""
    return sorted(path.stem for path in data_folder("tasks").glob("*.yaml"))


@cache
def _read_shipped(name: str) -> BenchmarkCard:
    return read_benchmark(data_folder("tasks") / f"{name}.yaml")


def load_benchmark(name: str) -> BenchmarkCard:
    """Read the card of a benchmark by its name.

    Raises:
        UsageError: there is no such card.
        InputError: its card is malformed.
    """
    known = benchmark_names()
    by_lower = {entry.lower().replace("-", "_"): entry for entry in known}
    found = by_lower.get(name.lower().replace("-", "_"))
    if found is None:
        raise UsageError(
            f"no card for task '{name}'",
            expected="a card in tasks/ (any lm-eval task can be evaluated without one)",
            remedy=suggest(name, known, kind="card"),
        )
    return _read_shipped(found)


def load_benchmarks() -> list[BenchmarkCard]:
    """Read every benchmark card, by name."""
    return [load_benchmark(name) for name in benchmark_names()]
