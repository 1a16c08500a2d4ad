"""Which checkpoints of a model `--revisions` means: final, all, log-spaced ones, steps, or names."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from forecast.catalog.families import ModelCard, RevisionCard
from forecast.core.errors import UsageError
from forecast.core.nearest import suggest

FINAL = "final"
ALL = "all"
_LOG = re.compile(r"log:(\d+)")
_EXPECTED = "final, all, log:N, a range of steps (1000..8000), or steps and names (1000,2000,main)"


def choose_revisions(model: ModelCard, revisions: str) -> tuple[RevisionCard, ...]:
    """Return the revisions that the text names, in the order of training, each once.

    Raises:
        UsageError: a step or name that the model does not have, or a text that means nothing.
    """
    text = revisions.strip()
    if not text:
        raise UsageError("`revisions=` is empty", expected=_EXPECTED)
    chosen: set[str] = set()
    for part in text.split(","):
        chosen.update(revision.name for revision in _choose_part(model, part.strip()))
    return tuple(revision for revision in model.revisions if revision.name in chosen)


def _choose_part(model: ModelCard, token: str) -> Sequence[RevisionCard]:
    lowered = token.lower()
    if lowered == ALL:
        return model.revisions
    if lowered == FINAL:
        # A run of ours may have several decayed ends, one for each budget.
        return [revision for revision in model.revisions if revision.is_final] or [final_revision(model)]
    spaced = _LOG.fullmatch(lowered)
    if spaced:
        return log_spaced(model, int(spaced[1]))
    if re.fullmatch(r"\d*\.\.\d*", lowered) and lowered != "..":
        return _in_range(model, lowered)
    return [_named(model, token)]


def final_revision(model: ModelCard) -> RevisionCard:
    """Return the revision that the card marks as the run's end, or else its last one."""
    marked = [revision for revision in model.revisions if revision.is_final]
    return (marked or list(model.revisions))[-1]


def log_spaced(model: ModelCard, count: int) -> tuple[RevisionCard, ...]:
    """Return `count` revisions spread evenly over log(step), the first trained one and the final one among them.

    Each ideal step becomes the nearest published one; where two ideals share their nearest, the free step that is closest
    in log(step) fills up, so that exactly `count` distinct revisions come back. Step 0 has no logarithm and is left out.

    Raises:
        UsageError: fewer than 2 asked for, or more than there are, or no steps are known.
    """
    trained = [revision for revision in model.revisions if revision.step]
    if not trained:
        raise UsageError(
            f"the revisions of '{model.name}' have no steps", expected="steps to space", remedy="use `revisions=` final"
        )
    if not 2 <= count <= len(trained):
        raise UsageError(f"`revisions=` log:{count} for '{model.name}'", expected=f"a number from 2 to {len(trained)}")
    final = final_revision(model)
    last = final if final.step else trained[-1]
    candidates = [revision for revision in trained if (revision.step or 0) <= (last.step or 0)]
    count = min(count, len(candidates))
    logs = [math.log(revision.step or 1) for revision in candidates]
    ideals = [logs[0] + (logs[-1] - logs[0]) * index / (count - 1) for index in range(count)]
    # Ends first, so that no inner ideal takes them away.
    taken: set[int] = set()
    for ideal in (ideals[0], ideals[-1], *ideals[1:-1]):
        free = [index for index in range(len(candidates)) if index not in taken]
        taken.add(min(free, key=lambda index: (abs(logs[index] - ideal), index)))
    return tuple(candidates[index] for index in sorted(taken))


def _in_range(model: ModelCard, token: str) -> list[RevisionCard]:
    low, _, high = token.partition("..")
    first, last = int(low or 0), int(high) if high else math.inf
    found = [revision for revision in model.revisions if revision.step is not None and first <= revision.step <= last]
    if not found:
        raise UsageError(f"`revisions=` {token} holds no step of '{model.name}'", expected=_steps_shown(model))
    return found


def _named(model: ModelCard, token: str) -> RevisionCard:
    for revision in model.revisions:
        if token == revision.name or (token.isdigit() and revision.step == int(token)):
            return revision
    final = final_revision(model)
    if token == "main" and model.main_is_final:
        return final
    steps = [revision.step for revision in model.revisions if revision.step is not None]
    if token.isdigit() and steps:
        near = min(steps, key=lambda step: abs(step - int(token)))
        raise UsageError(f"'{model.name}' has no step {token}", expected=_steps_shown(model), remedy=f"nearest is {near}")
    names = [revision.name for revision in model.revisions]
    known = [FINAL, ALL, *names]
    hint = suggest(token, known, kind="revision") if len(names) < 10 or token not in known else ""
    raise UsageError(f"'{model.name}' has no revision '{token}'", expected=_EXPECTED, remedy=hint)


def _steps_shown(model: ModelCard) -> str:
    steps = [revision.step for revision in model.revisions if revision.step is not None]
    if not steps:
        return "a revision's name"
    return f"one of its {len(steps)} steps from {steps[0]} to {steps[-1]}"
