"""One measurement of one checkpoint on one task, wherever it came from, and how such rows become ladders.

Rows come from somebody's table (`forecast.importers`) or from the store's view `observations`; laws and forecasts read
only the ladders that `to_ladders` builds, so both sources go through the same rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from forecast.core.metrics import ACCURACY_METRICS, NLL_METRICS
from forecast.core.observations import FloatArray, Ladder
from forecast.core.records import Metadata
from forecast.core.units import FLOPS_PER_PARAM_TOKEN, FlopsConvention

ALL_METRICS = NLL_METRICS + ACCURACY_METRICS

Notice = Callable[[str], None]
"""Takes one sentence that the user should read."""

_AGREEMENT = 0.01
"""Relative difference up to which printed FLOPs count as 6 N D: covers tables that print three digits."""


@dataclass(frozen=True, kw_only=True)
class ObservationRow:
    """One row of an observation table. Unknown numbers are None; a metric that was not measured has no entry."""

    family: str
    model: str
    """Training run; rows that share it are autocorrelated."""
    task: str
    metrics: dict[str, float]
    """Name of NLL_METRICS or ACCURACY_METRICS -> value (nats, or a fraction)."""
    sems: dict[str, float] = field(default_factory=dict)
    """Metric name -> standard error of its mean."""
    step: int | None = None
    params: float | None = None
    params_non_embedding: float | None = None
    tokens: float | None = None
    flops: float | None = None
    flops_convention: str | None = None
    """A `FlopsConvention` value; None means as the source printed it."""
    num_fewshot: int | None = None
    revision: str = ""
    is_final: bool | None = None
    """None: unknown; then the row with the most tokens of its model counts as final."""
    n_items: int | None = None
    chance: float | None = None
    lr_fraction: float | None = None
    """Learning rate over its peak."""
    source: str = ""
    """Table the row was read from; `derived` for a row computed from stored items."""
    definition: str = ""
    """What sets this measurement apart from another of the same name (items, precision, scorer); never mixed."""
    metadata: Metadata = field(default_factory=dict)
    run_id: str | None = None
    """The evaluation that it was computed from; None for a row that has no items."""
    item_limit: int | None = None
    """Items that the evaluation was limited to."""


def to_ladders(rows: Iterable[ObservationRow], *, notice: Notice | None = None) -> list[Ladder]:
    """Group rows into one ladder per family, task, number of shots and definition, sorted by name.

    Rows are sorted by FLOPs. Parameters and FLOPs of one ladder are of one kind each: where they cannot be, the
    number is NaN and a notice says so. FLOPs that a row lacks are 6 N D, by the convention of its neighbours.

    >>> rows = [ObservationRow(family="f", model=m, task="t", params=p, tokens=20 * p, metrics={"acc": a})
    ...         for m, p, a in (("b", 1e9, 0.5), ("a", 1e8, 0.3))]
    >>> ladder, = to_ladders(rows)
    >>> ladder.model, ladder.flops.tolist(), ladder.flops_convention
    (('a', 'b'), [1.2e+18, 1.2e+20], '6nd-total')
    """
    groups: dict[tuple[str, str, int, str], list[ObservationRow]] = {}
    for row in rows:
        shots = -1 if row.num_fewshot is None else row.num_fewshot
        groups.setdefault((row.family, row.task, shots, row.definition), []).append(row)
    return [build_ladder(groups[key], notice=notice)[0] for key in sorted(groups)]


def _ignore(_text: str) -> None:
    return None


def _column(values: Iterable[float | None]) -> FloatArray:
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)


def build_ladder(rows: Sequence[ObservationRow], *, notice: Notice | None = None) -> tuple[Ladder, list[int]]:
    """Build the ladder of rows that belong together; also return, for each of its rows, the position it had in `rows`."""
    notes: list[str] = []
    say = notice or _ignore

    def notice_and_keep(text: str) -> None:
        notes.append(text)
        say(text)

    flops, convention = _flops(rows, notice_and_keep)
    order = sorted(range(len(rows)), key=lambda i: (math.isnan(flops[i]), flops[i], rows[i].model, rows[i].step or 0))
    rows = [rows[i] for i in order]
    params, params_kind = _params(rows)
    chances = {row.chance for row in rows if row.chance is not None}
    if len(chances) > 1:
        name = f"{rows[0].family}, {rows[0].task}"
        notice_and_keep(f"{name}: rows state different chance levels {sorted(chances)}; it is treated as unknown")
    if contradictory := _contradictions(rows):
        notice_and_keep(
            f"{rows[0].family}, {rows[0].task}: {contradictory} rows measure a checkpoint that another row measures, too, with"
            " another result; all of them are used, so remove the wrong ones"
        )
    lr_fraction = _column(row.lr_fraction for row in rows)
    n_items = _column(row.n_items for row in rows)
    ladder = Ladder(
        family=rows[0].family,
        task=rows[0].task,
        model=tuple(row.model for row in rows),
        params=params,
        tokens=_column(row.tokens for row in rows),
        flops=flops[order],
        step=_column(row.step for row in rows),
        is_final=_finals(rows),
        metrics={
            name: _column(row.metrics.get(name) for row in rows)
            for name in ALL_METRICS
            if any(name in row.metrics for row in rows)
        },
        sems={
            name: _column(row.sems.get(name) for row in rows) for name in ALL_METRICS if any(name in row.sems for row in rows)
        },
        n_items=None if np.isnan(n_items).all() else n_items,
        chance=chances.pop() if len(chances) == 1 else math.nan,
        params_kind=params_kind,
        flops_convention=convention,
        lr_fraction=None if np.isnan(lr_fraction).all() else lr_fraction,
        num_fewshot=rows[0].num_fewshot,
        definition=rows[0].definition,
        notes=tuple(notes),
    )
    return ladder, order


def _contradictions(rows: Sequence[ObservationRow]) -> int:
    """Count the rows whose checkpoint another row measures differently."""
    if len({(row.model, row.revision, row.step, row.tokens, row.flops) for row in rows}) == len(rows):
        return 0
    found: dict[tuple[object, ...], list[dict[str, float]]] = {}
    for row in rows:
        # What metadata tell apart (a seed, a template) is no contradiction, and other metrics complete a row.
        facts = (row.model, row.revision, row.step, row.params, row.params_non_embedding, row.tokens, row.flops)
        results = found.setdefault((*facts, row.lr_fraction, *sorted(row.metrics), *sorted(row.metadata.items())), [])
        if row.metrics not in results:
            results.append(row.metrics)
    return sum(len(results) for results in found.values() if len(results) > 1)


def _params(rows: Sequence[ObservationRow]) -> tuple[FloatArray, str]:
    """All parameters, unless only the count without embeddings is known for more of the rows."""
    total = _column(row.params for row in rows)
    non_embedding = _column(row.params_non_embedding for row in rows)
    if np.isfinite(non_embedding).sum() > np.isfinite(total).sum():
        return non_embedding, "non-embedding"
    return total, "total"


def _finals(rows: Sequence[ObservationRow]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    furthest: dict[str, float] = {}
    for row in rows:
        furthest[row.model] = max(furthest.get(row.model, -1.0), _progress(row))
    return np.array(
        [_progress(row) == furthest[row.model] if row.is_final is None else row.is_final for row in rows], dtype=np.bool_
    )


def _progress(row: ObservationRow) -> float:
    for value in (row.tokens, row.step, row.flops):
        if value is not None:
            return float(value)
    return 0.0


def _flops(rows: Sequence[ObservationRow], notice: Notice) -> tuple[FloatArray, str]:
    """Training FLOPs of one convention for all rows, NaN where that is impossible."""
    name = f"{rows[0].family}, {rows[0].task}"
    stated = _column(row.flops for row in rows)
    tokens = _column(row.tokens for row in rows)
    by_kind = {
        FlopsConvention.SIX_ND_TOTAL: FLOPS_PER_PARAM_TOKEN * _column(row.params for row in rows) * tokens,
        FlopsConvention.SIX_ND_NON_EMBEDDING: FLOPS_PER_PARAM_TOKEN
        * _column(row.params_non_embedding for row in rows)
        * tokens,
    }
    has_stated = np.isfinite(stated)
    conventions = {row.flops_convention or FlopsConvention.PUBLISHED.value for row in rows if row.flops is not None}
    if len(conventions) > 1:
        for kind, counted in by_kind.items():
            if np.isfinite(counted).all():
                notice(f"{name}: FLOPs were counted by {', '.join(sorted(conventions))}; all are recomputed as {kind.value}")
                return counted, kind.value
        most = max(sorted(conventions), key=lambda kind: sum(row.flops_convention == kind for row in rows))
        notice(f"{name}: FLOPs were counted by {', '.join(sorted(conventions))}; only those of '{most}' are kept")
        kept = np.array([(row.flops_convention or FlopsConvention.PUBLISHED.value) == most for row in rows])
        return np.where(kept, stated, math.nan), most
    if not has_stated.any():
        kind = max(by_kind, key=lambda kind: int(np.isfinite(by_kind[kind]).sum()))
        return by_kind[kind], kind.value
    convention = conventions.pop()
    if has_stated.all():
        return stated, convention
    for kind, counted in by_kind.items():
        both = has_stated & np.isfinite(counted)
        if convention == kind.value or (both.any() and np.allclose(stated[both], counted[both], rtol=_AGREEMENT, atol=0.0)):
            return np.where(has_stated, stated, counted), kind.value
    missing = int((~has_stated).sum())
    notice(f"{name}: {missing} rows state no FLOPs, and the others' are not 6 N D; they are treated as unknown")
    return stated, convention
