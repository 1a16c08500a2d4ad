"""From what a user names (family, sizes, revisions, hub ids, folders) to the checkpoints to score, cheapest first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from forecast.catalog.checkpoint_folders import as_models, find_checkpoints
from forecast.catalog.families import FamilyCard, load_family
from forecast.catalog.located import nearest
from forecast.catalog.requests import override, request_of, request_of_note
from forecast.catalog.revisions import choose_revisions
from forecast.catalog.sizes import choose_models
from forecast.core.errors import InputError, UsageError
from forecast.core.records import CheckpointRequest
from forecast.core.scale import check_scale
from forecast.workflows.model_names import read_model

DEFAULT_CHECKPOINTS = Path("checkpoints")
"""Where `forecast train` leaves its checkpoints unless told otherwise."""


def select(
    *,
    family: str | None = None,
    models: Sequence[str] = (),
    sizes: str = "",
    revisions: str = "final",
    subset: str = "",
    checkpoints: Path = DEFAULT_CHECKPOINTS,
    params: int | None = None,
    tokens: int | None = None,
    flops: float | None = None,
    flops_convention: str | None = None,
    keep_missing: bool = False,
) -> list[CheckpointRequest]:
    """Return the checkpoints meant, each once, smallest model first and its revisions in the order of training.

    Args:
        family: name of a card in models/, or path of a card.
        models: local folders or hub ids with an optional `@revision`; a card that knows the model fills in its numbers.
        sizes: which models of the family, e.g. `70m..1.4b`; empty means all.
        revisions: which checkpoints of each, e.g. `final`, `log:12`, `1000,2000`, `all`.
        subset: part of a family whose card has parts (a training corpus, say); empty means all.
        checkpoints: folder below which the checkpoints of in-house families lie.
        params: overrides the number of parameters; only where one checkpoint is meant.
        tokens: overrides the training tokens; likewise.
        flops: overrides the training FLOPs; likewise.
        flops_convention: how `flops` was counted; `published` when not said.
        keep_missing: among several, a path without a checkpoint becomes a request that fails in its turn.

    Raises:
        UsageError: an unknown name, nothing named at all, or an override where several checkpoints are meant.
        InputError: a folder that is missing, or a malformed card or note.
    """
    if family is None and not models:
        raise UsageError("no checkpoint named", expected="--family NAME or --model PATH_OR_HUB_ID[@REVISION]")
    if family is None and (sizes or subset or revisions != "final"):
        raise UsageError("--sizes, --revisions and --subset choose within a family", expected="--family NAME beside them")
    requests = [] if family is None else _select_family(load_family(family), sizes, revisions, subset, checkpoints)
    for text in models:
        try:
            requests.append(read_model(text))
        except InputError:
            if not keep_missing or (family is None and len(models) == 1):
                raise
            requests.append(CheckpointRequest(source=text))
    unique = list({(request.source, request.revision): request for request in reversed(requests)}.values())[::-1]
    if params is not None or tokens is not None or flops is not None:
        if len(unique) != 1:
            raise UsageError(
                f"--params, --tokens and --flops for {len(unique)} checkpoints",
                expected="one checkpoint when numbers are given",
            )
        check_scale("", params=params, tokens=tokens, flops=flops)
        unique = [override(unique[0], params=params, tokens=tokens, flops=flops, flops_convention=flops_convention)]
    return sorted(unique, key=_cost)


def _cost(request: CheckpointRequest) -> tuple[float, str, float]:
    size = request.params if request.params is not None else math.inf
    step = request.step if request.step is not None else math.inf
    return (float(size), request.model or request.source, float(step))


def _select_family(card: FamilyCard, sizes: str, revisions: str, subset: str, checkpoints: Path) -> list[CheckpointRequest]:
    if card.is_in_house:
        return _select_in_house(card, sizes, revisions, checkpoints)
    candidates = card.models
    if subset:
        parts = list(dict.fromkeys(model.subset for model in card.models if model.subset))
        candidates = tuple(model for model in card.models if model.subset.lower() == subset.lower())
        if not candidates:
            remedy = nearest(subset, parts, kind="subset") if parts else "leave --subset out"
            raise UsageError(f"family '{card.name}' has no subset '{subset}'", remedy=remedy)
    chosen = choose_models(candidates, sizes, family=card.name)
    return [request_of(card, model, entry) for model in chosen for entry in choose_revisions(model, revisions)]


def _select_in_house(card: FamilyCard, sizes: str, revisions: str, checkpoints: Path) -> list[CheckpointRequest]:
    found = find_checkpoints(checkpoints, family=card.name)
    if not found:
        raise UsageError(
            f"family '{card.name}' has no trained checkpoint under {checkpoints}",
            expected="folders with a forecast.json",
            remedy=f"run 'forecast train {card.name}' first, or name its folder with --checkpoints",
        )
    notes = {str(entry.path): entry.note for entry in found}
    chosen = choose_models(as_models(found, family=card.name), sizes, family=card.name)
    return [request_of_note(entry.name, notes[entry.name]) for model in chosen for entry in choose_revisions(model, revisions)]
