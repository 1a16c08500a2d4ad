"""Requests for checkpoints, filled with what a card, a checkpoint's own note or the user says."""

from __future__ import annotations

from dataclasses import replace

from forecast.catalog.families import FamilyCard, ModelCard, RevisionCard
from forecast.core.checkpoint_note import CheckpointNote
from forecast.core.records import CheckpointRequest
from forecast.core.units import FlopsConvention, checkpoint_flops


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
    return checkpoint_flops(
        params=model.params,
        params_non_embedding=model.params_non_embedding,
        tokens=revision.tokens,
        convention=card.flops_convention,
    )


def override(
    request: CheckpointRequest,
    *,
    params: int | None = None,
    tokens: int | None = None,
    flops: float | None = None,
    flops_convention: str | None = None,
) -> CheckpointRequest:
    """Put the user's numbers in place of the card's; FLOPs that depended on a replaced number are recomputed."""
    if flops is not None:
        convention: str | None = flops_convention or FlopsConvention.PUBLISHED.value
    else:
        flops, convention = request.flops, request.flops_convention
        if params is not None or tokens is not None:
            flops, convention = _recounted_flops(request, params, tokens)
    return replace(
        request,
        params=params if params is not None else request.params,
        tokens=tokens if tokens is not None else request.tokens,
        flops=flops,
        flops_convention=convention if flops is not None else None,
    )


def _recounted_flops(request: CheckpointRequest, params: int | None, tokens: int | None) -> tuple[float | None, str | None]:
    by_total = params is not None or request.flops_convention != FlopsConvention.SIX_ND_NON_EMBEDDING.value
    return checkpoint_flops(
        params=params if params is not None else request.params,
        params_non_embedding=request.params_non_embedding,
        tokens=tokens if tokens is not None else request.tokens,
        convention=FlopsConvention.SIX_ND_TOTAL if by_total else FlopsConvention.SIX_ND_NON_EMBEDDING,
    )
