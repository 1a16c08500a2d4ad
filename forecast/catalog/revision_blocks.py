"""The `revisions:` block of a family card: which checkpoints of a model are published, and what each has seen."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from forecast.catalog.family_records import Fact, RevisionCard
from forecast.catalog.located import Field


def read_fact(field: Field, *, number: bool) -> Fact:
    """Read `{value: ..., source: URL}`."""
    entries = field.entries(required=("value", "source"))
    value: str | int = entries["value"].whole(minimum=1) if number else entries["value"].text()
    return Fact(value=value, source=entries["source"].url())


@dataclass(frozen=True)
class _Schedule:
    """Warm-up and cosine decay of the learning rate, in steps."""

    warmup: int
    total: int
    floor: float

    def fraction(self, step: int) -> float:
        """Learning rate over its peak after `step` steps."""
        if step < self.warmup:
            return step / self.warmup
        progress = min(1.0, (step - self.warmup) / (self.total - self.warmup))
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _read_schedule(field: Field) -> _Schedule:
    entries = field.entries(required=("kind", "warmup_steps", "total_steps", "floor", "source"))
    entries["kind"].one_of(["cosine"])
    entries["source"].url()
    total = entries["total_steps"].whole(minimum=1)
    warmup = entries["warmup_steps"].whole()
    if warmup >= total:
        raise entries["warmup_steps"].error(f"is {warmup}", expected=f"less than total_steps, {total}")
    return _Schedule(warmup=warmup, total=total, floor=entries["floor"].number(maximum=1.0))


@dataclass(frozen=True, kw_only=True)
class RevisionFacts:
    """The parts of a card that say what a model's revisions are; a model's own part overrides its family's."""

    block: Field | None
    """`revisions:`."""
    tokens_per_step: int | None
    total_tokens: int | None
    """`tokens:` of the model: what its final revision has seen."""
    schedule: _Schedule | None
    single: str = "main"
    """The one revision of a model without a block."""


def read_revision_facts(model: Mapping[str, Field], family: Mapping[str, Field]) -> RevisionFacts:
    """Gather the parts from a model's entry and its family's card."""
    per_step = model.get("tokens_per_step") or family.get("tokens_per_step")
    schedule = model.get("schedule") or family.get("schedule")
    return RevisionFacts(
        block=model.get("revisions") or (None if "revision" in model else family.get("revisions")),
        tokens_per_step=int(read_fact(per_step, number=True).value) if per_step is not None else None,
        total_tokens=model["tokens"].whole(minimum=1) if "tokens" in model else None,
        schedule=_read_schedule(schedule) if schedule is not None else None,
        single=model["revision"].text() if "revision" in model else "main",
    )


def read_revisions(model: Field, facts: RevisionFacts) -> tuple[tuple[RevisionCard, ...], bool]:
    """Return a model's revisions by step, and whether the hub's default branch holds the final one.

    Raises:
        InputError: naming file, line and field.
    """
    if facts.block is None:
        if facts.total_tokens is None:
            raise model.error("has no revisions and no tokens", expected="revisions here or in the family, or tokens")
        single = RevisionCard(name=facts.single, step=None, tokens=facts.total_tokens, is_final=True)
        return (single,), facts.single == "main"
    block = facts.block
    entries = block.entries(required=("source",), optional=("name", "steps", "list", "final", "main"))
    entries["source"].url()
    if ("steps" in entries) == ("list" in entries):
        raise block.error("has both or neither of 'steps' and 'list'", expected="one of them")
    revisions = _read_list(entries["list"]) if "list" in entries else _read_stepped(entries, facts)
    main_is_final = False
    if "main" in entries and entries["main"].value == "final":
        main_is_final = True
    elif "main" in entries:
        revisions.append(_read_main(entries["main"]))
    names = [revision.name for revision in revisions]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise block.error(f"names '{doubled[0]}' twice", expected="each revision once")
    finals = [revision.name for revision in revisions if revision.is_final]
    if len(finals) > 1:
        raise block.error(f"has the final revisions {', '.join(finals)}", expected="at most one")
    if main_is_final and not finals:
        raise entries["main"].error("is 'final'", expected="a final revision in this block")
    # Revisions without a step (a default branch after the last one) come last.
    revisions.sort(key=lambda revision: (revision.step is None, revision.step or 0))
    return tuple(revisions), main_is_final or "main" in finals


def _read_list(field: Field) -> list[RevisionCard]:
    revisions = []
    for entry in field.elements():
        parts = entry.entries(required=("name",), optional=("step", "tokens", "final"))
        revisions.append(
            RevisionCard(
                name=parts["name"].text(),
                step=parts["step"].whole() if "step" in parts else None,
                tokens=parts["tokens"].whole() if "tokens" in parts else None,
                is_final=parts["final"].flag() if "final" in parts else False,
            )
        )
    return revisions


def _read_main(field: Field) -> RevisionCard:
    parts = field.entries(optional=("tokens", "final"))
    return RevisionCard(
        name="main",
        step=None,
        tokens=parts["tokens"].whole() if "tokens" in parts else None,
        is_final=parts["final"].flag() if "final" in parts else False,
    )


def _read_stepped(entries: Mapping[str, Field], facts: RevisionFacts) -> list[RevisionCard]:
    final = entries["final"].whole() if "final" in entries else None
    steps = _read_steps(entries["steps"])
    if final is not None and final not in steps:
        raise entries["final"].error(f"is {final}", expected="one of the steps")
    revisions = []
    for step in steps:
        tokens = step * facts.tokens_per_step if facts.tokens_per_step is not None else None
        if tokens is None and step == final:
            tokens = facts.total_tokens
        revisions.append(
            RevisionCard(
                name=_revision_name(entries.get("name"), step, facts.tokens_per_step),
                step=step,
                tokens=tokens,
                is_final=step == final,
                lr_fraction=facts.schedule.fraction(step) if facts.schedule is not None else None,
            )
        )
    return revisions


def _revision_name(pattern: Field | None, step: int, tokens_per_step: int | None) -> str:
    """Fill a name's `{step}` (or `{step:08d}`) and `{gigatokens}`: tokens seen, in units of 1e9, rounded up."""
    if pattern is None:
        return f"step{step}"
    text = pattern.text()
    if len(re.findall(r"\{step(?::0\d+d)?\}", text)) != 1 or re.search(r"\{(?!step(?::0\d+d)?\}|gigatokens\})", text):
        raise pattern.error(f"is {text!r}", expected="a name with one {step} or {step:08d}, and {gigatokens} where need be")
    if "{gigatokens}" in text and tokens_per_step is None:
        raise pattern.error("has {gigatokens}", expected="tokens_per_step next to it")
    return text.format(step=step, gigatokens=-(-step * (tokens_per_step or 0) // 10**9))


def _read_steps(field: Field) -> list[int]:
    steps: set[int] = set()
    for entry in field.elements():
        if isinstance(entry.value, dict):
            parts = entry.entries(required=("from", "to", "every"))
            first, every = parts["from"].whole(), parts["every"].whole(minimum=1)
            last = parts["to"].whole(minimum=first)
            if (last - first) % every:
                raise parts["to"].error(f"is {last}", expected=f"{first} plus a multiple of {every}")
            steps.update(range(first, last + 1, every))
        else:
            steps.add(entry.whole())
    return sorted(steps)
