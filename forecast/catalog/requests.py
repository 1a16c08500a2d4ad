"""Requests for checkpoints, filled with what a card or a checkpoint's own note says."""

from __future__ import annotations

from forecast.catalog.families import FamilyCard, ModelCard, RevisionCard
from forecast.core.checkpoint_note import CheckpointNote
from forecast.core.records import CheckpointRequest
from forecast.core.units import FlopsConvention, training_flops


def request_of_note(source: str, note: CheckpointNote) -> CheckpointRequest:
    """Fill a request with everything that a checkpoint folder's note says."""
    return CheckpointRequest(
        source=source,
        family=note.family,
        model=note.model,
        step=note.step,
        params=note.params,
        params_non_embedding=note.params_non_embedding,
        tokens=note.tokens,
        flops=note.flops,
        flops_convention=note.flops_convention,
        is_final=note.is_final,
        metadata=note.metadata,
    )


def request_of(card: FamilyCard, model: ModelCard, revision: RevisionCard) -> CheckpointRequest:
    """Fill a request with everything that the card says of one published checkpoint."""
    flops, convention = _card_flops(card, model, revision)
    metadata: dict[str, str | int | float | bool | None] = {"card": card.name}
    if model.subset:
        metadata["subset"] = model.subset
    if revision.lr_fraction is not None:
        metadata["lr_fraction"] = revision.lr_fraction
    return CheckpointRequest(
        source=model.hub,
        revision=revision.name,
        family=card.name,
        model=model.name,
        step=revision.step,
        params=model.params,
        params_non_embedding=model.params_non_embedding,
        tokens=revision.tokens,
        flops=flops,
        flops_convention=convention,
        is_final=revision.is_final,
        metadata=metadata,
    )


def _card_flops(card: FamilyCard, model: ModelCard, revision: RevisionCard) -> tuple[float | None, str | None]:
    if card.flops_convention is FlopsConvention.PUBLISHED:
        known = model.flops if revision.is_final else None
        return (known, FlopsConvention.PUBLISHED.value) if known is not None else (None, None)
    counted = {
        FlopsConvention.SIX_ND_TOTAL: model.params,
        FlopsConvention.SIX_ND_NON_EMBEDDING: model.params_non_embedding,
    }.get(card.flops_convention)
    if counted is None or revision.tokens is None:
        return None, None
    return training_flops(counted, revision.tokens), card.flops_convention.value
