"""Which of the rows of one family on one task make its ladder: those of one number of shots and one definition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecast.core.metrics import ACCURACY_METRICS
from forecast.core.observation_rows import Notice, ObservationRow, build_ladder
from forecast.core.observations import Ladder

ShotsRule = Callable[[str, str, Mapping[int | None, int]], tuple[int | None, str] | None]
"""Family, task, and number of shots -> training runs measured with it; gives the number meant with a note, None for none."""


@dataclass(frozen=True, kw_only=True)
class ChosenLadder:
    """A ladder with the rows it was made of, in its order."""

    ladder: Ladder
    rows: Sequence[ObservationRow]


def choose_ladders(rows: Iterable[ObservationRow], shots_rule: ShotsRule, *, accuracies: bool = False) -> list[ChosenLadder]:
    """Return at most one ladder per family and task, never mixing shots or definitions; what was chosen is in its notes.

    Args:
        rows: of any families and tasks.
        shots_rule: decides where a task was measured with several numbers of shots; tasks for which it gives None are left out.
        accuracies: whether measurements without any accuracy are out of the question.
    """
    groups: dict[tuple[str, str], list[ObservationRow]] = {}
    for row in rows:
        groups.setdefault((row.family, row.task), []).append(row)
    chosen = []
    for (family, task), own in sorted(groups.items()):
        variants: dict[tuple[int | None, str], list[ObservationRow]] = {}
        for row in own:
            variants.setdefault((row.num_fewshot, row.definition), []).append(row)
        if accuracies:
            variants = {key: members for key, members in variants.items() if any(map(has_accuracy, members))}
        runs: dict[int | None, set[str]] = {}
        for (count, _), members in variants.items():
            runs.setdefault(count, set()).update(row.model for row in members)
        choice = shots_rule(family, task, {count: len(models) for count, models in runs.items()}) if runs else None
        if choice is None:
            continue
        alike = {definition: members for (count, definition), members in variants.items() if count == choice[0]}
        notes = [choice[1]] if choice[1] else []
        best = alike[_one_definition(alike, notes.append)]
        ladder, order = build_ladder(best)
        ladder = replace(ladder, notes=(*notes, *ladder.notes))
        chosen.append(ChosenLadder(ladder=ladder, rows=[best[position] for position in order]))
    return chosen


def has_accuracy(row: ObservationRow) -> bool:
    """Tell whether any accuracy was measured."""
    return any(name in row.metrics for name in ACCURACY_METRICS)


def _one_definition(variants: Mapping[str, Sequence[ObservationRow]], say: Notice) -> str:
    """The definition that covers most checkpoints; among equals own items, then most of them, then full precision."""

    def rank(name: str) -> tuple[int, bool, bool, float, bool, str]:
        rows = variants[name]
        checkpoints = len({(row.model, row.step, row.revision) for row in rows})
        items = float(np.mean([row.n_items or 0 for row in rows]))
        derived, unlimited = rows[0].run_id is not None, rows[0].item_limit is None
        return checkpoints, derived, unlimited, items, "dtype=float32" in name, name

    best = max(variants, key=rank)
    if len(variants) > 1:
        row = variants[best][0]
        others = "; ".join(f"{len(variants[name])} with {name}" for name in sorted(variants) if name != best)
        say(f"{row.family}, {row.task}: {len(variants[best])} results with {best} are used, not mixed with {others}")
    return best
