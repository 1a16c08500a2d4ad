"""Family cards: the facts of a suite of checkpoints, each with its source, read from models/*.yaml into records.

docs/families.md documents every field. A card holds facts of training (parameters, tokens, revisions), never scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from forecast.catalog.family_records import Fact, FamilyCard, ModelCard, RevisionCard
from forecast.catalog.located import Field, plain_mapping, read_located
from forecast.catalog.revision_blocks import read_fact, read_revision_facts, read_revisions
from forecast.core.errors import InputError, UsageError
from forecast.core.nearest import suggest
from forecast.core.resources import data_folder
from forecast.core.scale import scale_fault
from forecast.core.units import FlopsConvention

__all__ = ["Fact", "FamilyCard", "ModelCard", "RevisionCard", "family_names", "load_families", "load_family", "read_family"]

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
    facts = {key: read_fact(entries[key], number=False) for key in _TEXT_FACTS if key in entries}
    facts |= {key: read_fact(entries[key], number=True) for key in (*_NUMBER_FACTS, "tokens_per_step") if key in entries}
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
    revisions, main_is_final = read_revisions(field, read_revision_facts(entries, family))
    flops = entries["flops"].number(minimum=1.0) if "flops" in entries else None
    _check_numbers(field, entries, params, non_embedding, flops, revisions)
    return ModelCard(
        name=entries["name"].text(),
        size=str(entries["size"].value).strip().lower(),
        hub=hub,
        params=params,
        params_non_embedding=non_embedding,
        flops=flops,
        revisions=revisions,
        main_is_final=main_is_final,
        source=entries["source"].url(),
        subset=entries["subset"].text() if "subset" in entries else "",
    )


def _check_numbers(
    field: Field,
    entries: Mapping[str, Field],
    params: int,
    non_embedding: int | None,
    flops: float | None,
    revisions: Sequence[RevisionCard],
) -> None:
    """Check that a training run can have a model's numbers, and each of its checkpoints."""
    for revision in revisions or [RevisionCard(name="", step=None, tokens=None, is_final=True)]:
        fault = scale_fault(
            params=params,
            params_non_embedding=non_embedding,
            tokens=revision.tokens,
            flops=flops if revision.is_final else None,
            may_be_untrained=True,
        )
        if fault is not None:
            of = f" of checkpoint '{revision.name}'" if revision.name and fault.quantity == "tokens" else ""
            place = entries.get(fault.quantity, field)
            problem = (
                fault.found.removeprefix(f"{fault.quantity} ") if place is not field else f"has a fault: {fault.found}{of}"
            )
            raise place.error(problem, expected=fault.expected)


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
        raise UsageError(f"unknown family '{name}'", expected="a card in models/", remedy=suggest(name, known, kind="family"))
    return read_family(data_folder("models") / f"{found}.yaml")


def load_families() -> list[FamilyCard]:
    """Read every family card, by name."""
    return [load_family(name) for name in family_names()]
