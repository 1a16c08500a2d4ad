"""Family cards: the facts of a suite of checkpoints, each with its source, read from models/*.yaml into records.

docs/families.md documents every field. A card holds facts of training (parameters, tokens, revisions), never scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forecast.catalog.located import Field, nearest, plain_mapping, read_located
from forecast.core.errors import InputError, UsageError
from forecast.core.resources import data_folder
from forecast.core.units import FlopsConvention


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A statement about a family and where it is published."""

    value: str | int
    source: str
    """Web address."""


@dataclass(frozen=True, kw_only=True)
class RevisionCard:
    """One published checkpoint of a model."""

    name: str
    """Hub branch or tag."""
    step: int | None
    """Optimiser steps taken."""
    tokens: int | None
    """Training tokens seen."""
    is_final: bool
    """End of the run, learning rate decayed."""
    lr_fraction: float | None = None
    """Learning rate over its peak, where the card states the schedule."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One training run of a family."""

    name: str
    size: str
    """Label on the command line, e.g. `70m`."""
    hub: str
    """Hub id; empty for a model of an in-house family."""
    params: int | None
    """All parameters."""
    params_non_embedding: int | None
    flops: float | None
    """Training FLOPs of the final revision, where the source prints them."""
    revisions: tuple[RevisionCard, ...]
    """By step; empty for a model of an in-house family."""
    source: str
    """Web address of these numbers."""
    subset: str = ""
    """Part of the family that laws should not mix with others, e.g. a training corpus."""


@dataclass(frozen=True, kw_only=True)
class FamilyCard:
    """A suite of models trained by one recipe."""

    name: str
    title: str
    description: str
    path: Path
    flops_convention: FlopsConvention
    facts: Mapping[str, Fact]
    """licence, corpus, tokenizer, architecture, context_length, ...: field -> fact."""
    models: tuple[ModelCard, ...]
    """Smallest first."""
    training: Mapping[str, object] | None = None
    """The `training:` block of an in-house family, as written."""

    @property
    def is_in_house(self) -> bool:
        """Whether the checkpoints are trained here rather than fetched from a hub."""
        return self.training is not None


_TEXT_FACTS = ("licence", "corpus", "tokenizer", "architecture", "optimizer", "batch", "note")
_NUMBER_FACTS = ("context_length", "vocabulary")


def read_family(path: Path) -> FamilyCard:
    """Read and validate one family card.

    Raises:
        InputError: naming file, line and field.
    """
    root = read_located(path)
    entries = root.entries(
        required=("family", "title"),
        optional=(
            "description",
            "flops_convention",
            "tokens_per_step",
            "schedule",
            "revisions",
            "models",
            "training",
            *_TEXT_FACTS,
            *_NUMBER_FACTS,
        ),
    )
    name = entries["family"].text()
    if name != path.stem:
        raise entries["family"].error(f"is {name!r}", expected=f"the file's name, {path.stem!r}")
    if "training" not in entries and "models" not in entries:
        raise root.error("lacks both 'models' and 'training'", expected="one of them")
    convention = FlopsConvention.SIX_ND_TOTAL
    if "flops_convention" in entries:
        convention = FlopsConvention(entries["flops_convention"].one_of([entry.value for entry in FlopsConvention]))
    elif "models" in entries:
        raise root.error("lacks 'flops_convention'", expected="how this family's FLOPs are counted")
    facts = {key: _read_fact(entries[key], number=False) for key in _TEXT_FACTS if key in entries}
    facts |= {key: _read_fact(entries[key], number=True) for key in (*_NUMBER_FACTS, "tokens_per_step") if key in entries}
    return FamilyCard(
        name=name,
        title=entries["title"].text(),
        description=entries["description"].text() if "description" in entries else "",
        path=path,
        flops_convention=convention,
        facts=facts,
        models=_read_models(entries),
        training=plain_mapping(entries["training"]) if "training" in entries else None,
    )


def _read_fact(field: Field, *, number: bool) -> Fact:
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


def _read_models(family: Mapping[str, Field]) -> tuple[ModelCard, ...]:
    if "models" not in family:
        return ()
    models: list[ModelCard] = []
    seen: dict[str, int] = {}
    for field in family["models"].elements():
        model = _read_model(field, family)
        for label in (f"name '{model.name}'", f"hub '{model.hub}'"):
            if label in seen:
                raise field.error(f"repeats the {label} of line {seen[label]}", expected="one entry per model")
            seen[label] = field.line
        models.append(model)
    return tuple(sorted(models, key=lambda model: (model.params or 0, model.name)))


def _read_model(field: Field, family: Mapping[str, Field]) -> ModelCard:
    entries = field.entries(
        required=("name", "size", "hub", "params", "source"),
        optional=("params_non_embedding", "tokens", "flops", "revision", "revisions", "tokens_per_step", "subset", "schedule"),
    )
    params = entries["params"].whole(minimum=1)
    non_embedding = entries["params_non_embedding"].whole(minimum=1) if "params_non_embedding" in entries else None
    if non_embedding is not None and non_embedding > params:
        raise entries["params_non_embedding"].error(f"is {non_embedding}", expected=f"at most params, {params}")
    hub = entries["hub"].text()
    if hub.count("/") > 1 or " " in hub or "@" in hub:
        raise entries["hub"].error(f"is {hub!r}", expected="a hub id, organisation/name")
    return ModelCard(
        name=entries["name"].text(),
        size=str(entries["size"].value).strip().lower(),
        hub=hub,
        params=params,
        params_non_embedding=non_embedding,
        flops=entries["flops"].number(minimum=1.0) if "flops" in entries else None,
        revisions=_read_revisions(field, entries, family),
        source=entries["source"].url(),
        subset=entries["subset"].text() if "subset" in entries else "",
    )


def _read_revisions(model: Field, entries: Mapping[str, Field], family: Mapping[str, Field]) -> tuple[RevisionCard, ...]:
    block = entries.get("revisions") or (None if "revision" in entries else family.get("revisions"))
    total = entries["tokens"].whole(minimum=1) if "tokens" in entries else None
    if block is None:
        if total is None:
            raise model.error("has no revisions and no tokens", expected="revisions here or in the family, or tokens")
        name = entries["revision"].text() if "revision" in entries else "main"
        return (RevisionCard(name=name, step=None, tokens=total, is_final=True),)
    per_step = entries.get("tokens_per_step") or family.get("tokens_per_step")
    tokens_per_step = int(_read_fact(per_step, number=True).value) if per_step is not None else None
    schedule_field = entries.get("schedule") or family.get("schedule")
    schedule = _read_schedule(schedule_field) if schedule_field is not None else None
    return tuple(
        RevisionCard(
            name=name,
            step=step,
            tokens=_tokens_of(tokens, step, tokens_per_step, total, is_final),
            is_final=is_final,
            lr_fraction=schedule.fraction(step) if schedule is not None and step is not None else None,
        )
        for name, step, tokens, is_final in read_revision_block(block)
    )


def _tokens_of(stated: int | None, step: int | None, per_step: int | None, total: int | None, is_final: bool) -> int | None:
    if stated is not None:
        return stated
    if step is not None and per_step is not None:
        return step * per_step
    return total if is_final else None


def read_revision_block(field: Field) -> list[tuple[str, int | None, int | None, bool]]:
    """Read `revisions:` into (name, step, tokens, is_final), by step; exactly one of `steps` and `list` says which exist."""
    entries = field.entries(required=("source",), optional=("name", "steps", "list", "final"))
    entries["source"].url()
    if ("steps" in entries) == ("list" in entries):
        raise field.error("has both or neither of 'steps' and 'list'", expected="one of them")
    rows: list[tuple[str, int | None, int | None, bool]] = []
    if "list" in entries:
        for entry in entries["list"].elements():
            parts = entry.entries(required=("name",), optional=("step", "tokens", "final"))
            step = parts["step"].whole() if "step" in parts else None
            tokens = parts["tokens"].whole() if "tokens" in parts else None
            rows.append((parts["name"].text(), step, tokens, parts["final"].flag() if "final" in parts else False))
    else:
        pattern = entries["name"].text() if "name" in entries else "step{step}"
        if pattern.count("{step}") != 1:
            raise entries["name"].error(f"is {pattern!r}", expected="a name with one {step}, e.g. step{step}")
        final = entries["final"].whole() if "final" in entries else None
        steps = _read_steps(entries["steps"])
        if final is not None and final not in steps:
            raise entries["final"].error(f"is {final}", expected="one of the steps")
        rows = [(pattern.replace("{step}", str(step)), step, None, step == final) for step in steps]
    names = [name for name, *_ in rows]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise field.error(f"names '{doubled[0]}' twice", expected="each revision once")
    return sorted(rows, key=lambda row: (row[1] is None, row[1] or 0, row[0]))


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


def family_names() -> list[str]:
    """Names of all families that have a card."""
    return sorted(path.stem for path in data_folder("models").glob("*.yaml"))


def load_family(name: str) -> FamilyCard:
    """Read the card of a family by its name, or of a card file by its path (`./mine.yaml`).

    Raises:
        UsageError: there is no such family.
        InputError: its card is malformed.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"no card '{name}'", expected="a YAML file", remedy="check the path")
        return read_family(path)
    known = family_names()
    by_lower = {entry.lower().replace("_", "-"): entry for entry in known}
    found = by_lower.get(name.lower().replace("_", "-"))
    if found is None:
        raise UsageError(f"unknown family '{name}'", expected="a card in models/", remedy=nearest(name, known, kind="family"))
    return read_family(data_folder("models") / f"{found}.yaml")


def load_families() -> list[FamilyCard]:
    """Read every family card, by name."""
    return [load_family(name) for name in family_names()]
