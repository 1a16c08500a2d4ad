"""Which references a question may use: never the family itself, each measured in the way nearest to the question's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from forecast.catalog.published import load_sources
from forecast.observations.reference_runs import ReferenceRuns, plain_name

SAME_RUN = 0.04
"""Relative difference of parameters and of tokens up to which two runs may be one: tables round 162 million to 160."""
FAR_BELOW = 30.0
"""Reference runs of less than this part of the smallest own run's compute say nothing about what lies ahead."""
SAME_CHANCE = 0.01


@dataclass(frozen=True, kw_only=True)
class ChosenReferences:
    """References for the tasks of a question."""

    runs: Sequence[ReferenceRuns]
    """At most one per family and task."""
    notes: tuple[str, ...]
    excluded: tuple[str, ...]
    """Names under which the family itself stands among the references."""


def names_of(family: str) -> frozenset[str]:
    """Return every spelling under which a family is known: by the library's cards and its own."""
    own = plain_name(family)
    for group in (group for card in load_sources() for group in card.aliases):
        names = {plain_name(name) for name in group}
        if own in names:
            return frozenset({own, *names})
    return frozenset({own})


def is_same_family(own: Sequence[ReferenceRuns], other: Sequence[ReferenceRuns]) -> bool:
    """Whether two families are one: by name or alias, by a model in common, or by runs of the same sizes and tokens.

    Args:
        own: the family that is forecast, on any tasks.
        other: a family among the references, on any tasks.
    """
    if not own or not other:
        return False
    if names_of(own[0].family) & names_of(other[0].family):
        return True
    mine, theirs = _sizes(own), _sizes(other)
    if set(mine) & set(theirs):
        return True
    alike = sum(any(_alike(one, two) for two in theirs.values()) for one in mine.values())
    # Single runs of the same size and tokens are common (7B on 1T); a whole ladder of them is the same ladder.
    return alike >= 3 and alike >= 0.6 * min(len(mine), len(theirs))


def _sizes(runs: Sequence[ReferenceRuns]) -> dict[str, tuple[float, float]]:
    return {
        plain_name(model): (float(n), float(d))
        for entry in runs
        for model, n, d in zip(entry.model, entry.params, entry.tokens, strict=True)
    }


def _alike(one: tuple[float, float], two: tuple[float, float]) -> bool:
    return all(np.isfinite([a, b]).all() and abs(a - b) <= SAME_RUN * max(a, b) for a, b in zip(one, two, strict=True))


def choose_references(
    pool: Sequence[ReferenceRuns], own: Sequence[ReferenceRuns], *, names: Collection[str] | None = None
) -> ChosenReferences:
    """Choose among references for all tasks that the own family was measured on.

    Args:
        pool: any families on any tasks.
        own: the family's runs that may be seen, one entry per task.
        names: families that may be used; None: all.
    """
    by_family: dict[str, list[ReferenceRuns]] = {}
    for entry in pool:
        by_family.setdefault(entry.family, []).append(entry)
    same = [family for family, runs in by_family.items() if is_same_family(own, runs)]
    # What is the same family in one source is so under all its names.
    aliases = frozenset().union(*(names_of(family) for family in same))
    excluded = [family for family in by_family if plain_name(family) in aliases]
    wanted = None if names is None else {plain_name(name) for name in names}
    asked = {entry.identity: entry for entry in own}
    least = min(float(entry.flops[0]) for entry in own) / FAR_BELOW
    chosen: dict[tuple[frozenset[str], str], ReferenceRuns] = {}
    notes: dict[str, None] = {}
    for entry in pool:
        mine = asked.get(entry.identity)
        if mine is None or entry.family in excluded or (wanted is not None and plain_name(entry.family) not in wanted):
            continue
        if abs(entry.chance - mine.chance) > SAME_CHANCE:
            notes[
                f"{entry.family} ({entry.source}) states another chance level on {entry.task} and is not a reference there."
            ] = None
            continue
        near = entry.rows(entry.flops >= least)
        key = (names_of(entry.family), entry.identity)
        if near is not None and (key not in chosen or _rank(near, mine) > _rank(chosen[key], mine)):
            chosen[key] = near
    return ChosenReferences(runs=list(chosen.values()), notes=tuple(notes), excluded=tuple(excluded))


def _rank(entry: ReferenceRuns, mine: ReferenceRuns) -> tuple[bool, bool, float, int]:
    """Better for the same metric, the same shots, nearer shots, more runs."""
    both = entry.num_fewshot is not None and mine.num_fewshot is not None
    apart = abs((entry.num_fewshot or 0) - (mine.num_fewshot or 0)) if both else 50
    return entry.metric == mine.metric, both and apart == 0, -apart, len(entry.model)


def protocol_note(mine: ReferenceRuns, used: Sequence[ReferenceRuns]) -> str:
    """Say how many references were measured in another way; empty where none was."""
    metric = [entry for entry in used if entry.metric != mine.metric]
    shots = [entry for entry in used if mine.num_fewshot is not None and entry.num_fewshot not in (None, mine.num_fewshot)]
    parts = [
        *([f"{len(metric)} with another metric than {mine.metric}"] if metric else []),
        *([f"{len(shots)} with other shots than {mine.num_fewshot}"] if shots else []),
    ]
    if not parts:
        return ""
    return (
        f"Of {len(used)} references on {mine.task}, {' and '.join(parts)}: they count with the deviation that protocols have."
    )
