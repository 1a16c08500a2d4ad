"""Other families' results as arrays: one record per family, task, shots and metric, from the library or any source."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from forecast.catalog.published import PublishedSource, load_sources
from forecast.catalog.task_facts import card_of, stated_shots, task_identity
from forecast.core.metrics import ACCURACY_METRICS, NLL_METRICS
from forecast.core.observation_rows import ALL_METRICS, Notice, ObservationRow, build_ladder
from forecast.core.observations import BoolArray, FloatArray, Ladder

DEFAULT_ITEMS = 1000.0
"""Items assumed where a source states none."""


@dataclass(frozen=True, kw_only=True)
class ReferenceRuns:
    """Final checkpoints of one family on one task, measured in one way; M runs in order of compute."""

    family: str
    task: str
    """As the source names it."""
    source: str
    """Name of the library's card, or the file."""
    num_fewshot: int | None
    metric: str
    model: tuple[str, ...]
    params: FloatArray
    """(M,) NaN: unknown."""
    tokens: FloatArray
    flops: FloatArray
    """(M,) always known."""
    accuracy: FloatArray
    n_items: FloatArray
    chance: float
    """NaN: unknown."""
    licence: str = ""
    smooth: tuple[str, ...] = ()
    """Smooth measures that the source has beside the accuracy."""

    @property
    def identity(self) -> str:
        """What all names of the task share."""
        return task_identity(self.task)

    def rows(self, keep: BoolArray) -> ReferenceRuns | None:
        """Return the named runs; None where there are none."""
        if not keep.any():
            return None
        return replace(
            self,
            model=tuple(name for name, kept in zip(self.model, keep, strict=True) if kept),
            params=self.params[keep],
            tokens=self.tokens[keep],
            flops=self.flops[keep],
            accuracy=self.accuracy[keep],
            n_items=self.n_items[keep],
        )

    def of_models(self, names: Collection[str]) -> ReferenceRuns | None:
        """Return the runs of the named models; None where there are none."""
        return self.rows(np.array([name in names for name in self.model], dtype=np.bool_))


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Columns of a table, each of one length; unknown numbers are NaN."""

    family: Sequence[str]
    model: Sequence[str]
    task: Sequence[str]
    number: Mapping[str, FloatArray]

    def column(self, name: str) -> FloatArray:
        found = self.number.get(name)
        return np.full(len(self.family), np.nan) if found is None else found


def library_runs() -> list[ReferenceRuns]:
    """Return the published results that ship with the product."""
    return [runs for card in load_sources() for runs in _grouped(_read(card.table), card.name, card)]


def _read(path: Path) -> _Rows:
    """Read a table of the library: it is checked by the tests, not at every start."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    number: dict[str, FloatArray] = {}
    for name in table.column_names:
        if not pa.types.is_string(table.schema.field(name).type):
            number[name] = table[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    text = {name: table[name].to_pylist() for name in ("family", "model", "task")}
    return _Rows(family=text["family"], model=text["model"], task=text["task"], number=number)


def _grouped(rows: _Rows, source: str, card: PublishedSource | None) -> list[ReferenceRuns]:
    shots, flops, chance = rows.column("num_fewshot"), rows.column("flops"), rows.column("chance")
    groups: dict[tuple[str, str, str], list[int]] = {}
    for i, (family, task) in enumerate(zip(rows.family, rows.task, strict=True)):
        groups.setdefault((family, task, str(shots[i])), []).append(i)
    found = []
    for (family, task, _), members in groups.items():
        at = np.array(members)
        at = at[np.argsort(flops[at], kind="stable")]
        # The first metric in the table's order that a source gives for all runs; a source gives one or two.
        metric = next((name for name in ACCURACY_METRICS if np.isfinite(rows.column(name)[at]).all()), None)
        at = at[np.isfinite(flops[at]) & (flops[at] > 0)]
        if metric is None or not at.size:
            continue
        stated = chance[at][np.isfinite(chance[at])]
        known = float(stated[0]) if stated.size else _card_chance(task)
        items = rows.column("n_items")[at]
        found.append(
            ReferenceRuns(
                family=family,
                task=task,
                source=source,
                num_fewshot=_shots(None if np.isnan(shots[at[0]]) else int(shots[at[0]]), task),
                metric=metric,
                model=tuple(rows.model[i] for i in at),
                params=rows.column("params")[at],
                tokens=rows.column("tokens")[at],
                flops=flops[at],
                accuracy=rows.column(metric)[at],
                n_items=np.where(np.isfinite(items), items, DEFAULT_ITEMS),
                chance=known,
                licence=card.licence if card else "",
                smooth=tuple(name for name in NLL_METRICS if np.isfinite(rows.column(name)[at]).any()),
            )
        )
    return found


def _card_chance(task: str) -> float:
    card = card_of(task)
    return float("nan") if card is None else card.chance


def table_runs(path: Path, *, notice: Notice) -> list[ReferenceRuns]:
    """Return the families of an observation table; runs without training FLOPs are left out, which is said.

    Raises:
        InputError: there is no such file, or it is malformed.
    """
    from forecast.importers import read_observations

    rows = [row for row in read_observations(path, notice=notice) if row.is_final is not False]

    def column(name: str) -> FloatArray:
        values = [row.metrics.get(name) if name in ALL_METRICS else getattr(row, name) for row in rows]
        return np.array([np.nan if value is None else float(value) for value in values])

    flops = column("flops")
    flops = np.where(np.isfinite(flops), flops, 6.0 * column("params") * column("tokens"))
    known = np.array([np.nan if (shots := _shots(row.num_fewshot, row.task)) is None else shots for row in rows], dtype=float)
    names = ("params", "tokens", "n_items", "chance", *(m for m in ALL_METRICS if any(m in row.metrics for row in rows)))
    numbers = {name: column(name) for name in names} | {"flops": flops, "num_fewshot": known}
    if lost := int((~np.isfinite(flops)).sum()):
        notice(f"{path.name}: {lost} rows without training FLOPs cannot be references and are left out")
    families, models, tasks = ([getattr(row, name) for row in rows] for name in ("family", "model", "task"))
    return _grouped(_Rows(family=families, model=models, task=tasks, number=numbers), path.name, None)


def _shots(stated: int | None, task: str) -> int | None:
    return stated if stated is not None else stated_shots(task)


def ladder_runs(ladder: Ladder, source: str) -> ReferenceRuns | None:
    """Return a ladder's decayed ends as reference runs; None where none has accuracy and training FLOPs."""
    metric = ladder.accuracy_metric or next((name for name in ACCURACY_METRICS if name in ladder.metrics), None)
    if metric is None or metric not in ladder.metrics:
        return None
    accuracy = ladder.metrics[metric]
    usable = np.isfinite(accuracy) & np.isfinite(ladder.flops) & (ladder.flops > 0)
    ends: dict[str, int] = {}
    for i in np.flatnonzero(usable):
        name = ladder.model[i]
        if name not in ends or (bool(ladder.is_final[i]), ladder.flops[i]) >= (
            bool(ladder.is_final[ends[name]]),
            ladder.flops[ends[name]],
        ):
            ends[name] = int(i)
    if not ends:
        return None
    at = np.array(sorted(ends.values(), key=lambda i: float(ladder.flops[i])))
    items = np.full(len(at), np.nan) if ladder.n_items is None else ladder.n_items[at]
    return ReferenceRuns(
        family=ladder.family,
        task=ladder.task,
        source=source,
        num_fewshot=ladder.num_fewshot,
        metric=metric,
        model=tuple(ladder.model[i] for i in at),
        params=ladder.params[at],
        tokens=ladder.tokens[at],
        flops=ladder.flops[at],
        accuracy=accuracy[at],
        n_items=np.where(np.isfinite(items), items, DEFAULT_ITEMS),
        chance=ladder.chance if np.isfinite(ladder.chance) else _card_chance(ladder.task),
        smooth=tuple(name for name in NLL_METRICS if name in ladder.metrics),
    )


def as_ladder(runs: ReferenceRuns) -> Ladder:
    """Return the runs as a ladder of their own."""

    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    rows = [
        ObservationRow(
            family=runs.family,
            model=name,
            task=runs.task,
            metrics={runs.metric: float(runs.accuracy[i])},
            params=number(runs.params[i]),
            tokens=number(runs.tokens[i]),
            flops=float(runs.flops[i]),
            num_fewshot=runs.num_fewshot,
            n_items=int(runs.n_items[i]),
            chance=number(runs.chance),
            is_final=True,
        )
        for i, name in enumerate(runs.model)
    ]
    return build_ladder(rows)[0]


def plain_name(name: str) -> str:
    """Return what spellings of a model's or family's name share: the hub's owner, case and separators do not count.

    >>> plain_name("EleutherAI/pythia-1.4b") == plain_name("Pythia 1.4B")
    True
    """
    return re.sub(r"[\W_]+", "", name.rsplit("/", 1)[-1].lower())
