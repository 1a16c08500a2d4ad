"""From what a user names (family, sizes, revisions, hub ids, folders) to the checkpoints to score, cheapest first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from forecast.catalog.checkpoint_folders import as_models, find_checkpoints
from forecast.catalog.families import FamilyCard, load_family
from forecast.catalog.requests import override, request_of, request_of_note
from forecast.catalog.revisions import choose_revisions
from forecast.catalog.sizes import choose_models
from forecast.core.errors import InputError, UsageError
from forecast.core.nearest import suggest
from forecast.core.records import CheckpointRequest
from forecast.core.scale import check_scale
from forecast.evaluation.checkpoint_table import read_checkpoints
from forecast.evaluation.model_names import read_model

DEFAULT_CHECKPOINTS = Path("checkpoints")
"""Where `forecast train` leaves its checkpoints unless told otherwise."""


def select(
    *,
    family: str | None = None,
    models: str | Sequence[str | Path] = (),
    sizes: str = "",
    revisions: str = "final",
    subset: str = "",
    checkpoints: str | Path = DEFAULT_CHECKPOINTS,
    params: int | Sequence[int] | None = None,
    tokens: int | Sequence[int] | None = None,
    flops: float | Sequence[float] | None = None,
    flops_convention: str | None = None,
    keep_missing: bool = False,
    family_name: str = "",
    table: str | Path | None = None,
) -> list[CheckpointRequest]:
    """Return the checkpoints meant, each once, smallest model first and its revisions in the order of training.

    Args:
        family: name of a card in models/, or path of a card.
        models: local folders or hub ids with an optional `@revision`; a card that knows the model fills in its numbers.
        sizes: which models of the family, e.g. `70m..1.4b`; empty means all.
        revisions: which checkpoints of each, e.g. `final`, `log:12`, `1000,2000`, `all`.
        subset: part of a family whose card has parts (a training corpus, say); empty means all.
        checkpoints: folder below which the checkpoints of in-house families lie.
        params: overrides the number of parameters: one number for each of `models`, in their order, or one where one
            checkpoint is meant.
        tokens: overrides the training tokens; likewise.
        flops: overrides the training FLOPs; likewise.
        flops_convention: how `flops` was counted; `published` when not said.
        keep_missing: among several, a path without a checkpoint becomes a request that fails in its turn.
        family_name: family under which `models` are stored; empty leaves a card's, a note's, or that of the folder above.
        table: CSV or Parquet table of checkpoints and what is known of them (`checkpoint_table.read_checkpoints`).

    Raises:
        UsageError: an unknown name, nothing named at all, or not one number for each checkpoint.
        InputError: a folder that is missing, or a malformed card, note or table.
    """
    texts = [models] if isinstance(models, str) else [str(model) for model in models]
    checkpoints, table = Path(checkpoints), None if table is None else Path(table)
    _check_named(family, texts, table, within=bool(sizes or subset or revisions != "final"), renamed=bool(family_name))
    requests = [] if family is None else _select_family(load_family(family), sizes, revisions, subset, checkpoints)
    listed = [] if table is None else read_checkpoints(table)
    alone = family is None and not listed and len(texts) == 1
    named = [_read_model(text, family_name, keep_missing=keep_missing and not alone) for text in texts]
    overrides = {"params": _as_list(params), "tokens": _as_list(tokens), "flops": _as_list(flops)}
    if any(overrides.values()) and named:
        named = _override(named, overrides, flops_convention)
    elif any(overrides.values()):
        if family is not None and len(requests) != 1:
            given = ", ".join(f"`{name}=`" for name, values in overrides.items() if values)
            raise UsageError(f"{given} for {len(requests)} checkpoints of family '{family}'", expected="one checkpoint of it")
        requests = _override(requests, overrides, flops_convention)
    every = [*requests, *named, *listed]
    unique = list({(request.source, request.revision): request for request in reversed(every)}.values())[::-1]
    return sorted(unique, key=_cost)


def _check_named(family: str | None, models: Sequence[str], table: Path | None, *, within: bool, renamed: bool) -> None:
    if family is None and not models and table is None:
        raise UsageError("no checkpoint named", expected="`family=` NAME, `models=` PATH_OR_HUB_ID[@REVISION] or `table=` FILE")
    if renamed and not models:
        raise UsageError("`family_name=` names the family of `models=`", expected="`models=` beside it")
    if family is None and within:
        raise UsageError("`sizes=`, `revisions=` and `subset=` choose within a family", expected="`family=` NAME beside them")


def _read_model(text: str, family_name: str, *, keep_missing: bool) -> CheckpointRequest:
    try:
        request = read_model(text)
    except InputError:
        if not keep_missing:
            raise
        request = CheckpointRequest(source=text)
    return replace(request, family=family_name or request.family)


def _as_list(value: float | Sequence[float] | None) -> list[float]:
    if value is None:
        return []
    return list(value) if isinstance(value, Sequence) else [value]


def _override(
    requests: Sequence[CheckpointRequest], numbers: Mapping[str, Sequence[float]], convention: str | None
) -> list[CheckpointRequest]:
    """Put the user's numbers into the requests, one of each kind for each request, in their order."""
    for name, values in numbers.items():
        if values and len(values) != len(requests):
            raise UsageError(
                f"`{name}=` with {len(values)} numbers for {len(requests)} checkpoints",
                expected="one for each `models=`, in their order",
                remedy="e.g. `tokens=` 1e9,2e9 with two models, or a `table=`",
            )
    overridden = []
    for index, request in enumerate(requests):
        params, tokens, flops = (values[index] if values else None for values in numbers.values())
        check_scale("", params=params, tokens=tokens, flops=flops)
        overridden.append(
            override(
                request,
                params=None if params is None else int(params),
                tokens=None if tokens is None else int(tokens),
                flops=flops,
                flops_convention=convention,
            )
        )
    return overridden


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
            remedy = suggest(subset, parts, kind="subset") if parts else "leave `subset=` out"
            raise UsageError(f"family '{card.name}' has no subset '{subset}'", remedy=remedy)
    chosen = choose_models(candidates, sizes, family=card.name)
    return [request_of(card, model, entry) for model in chosen for entry in choose_revisions(model, revisions)]


def _select_in_house(card: FamilyCard, sizes: str, revisions: str, checkpoints: Path) -> list[CheckpointRequest]:
    found = find_checkpoints(checkpoints, family=card.name)
    if not found:
        raise UsageError(
            f"family '{card.name}' has no trained checkpoint under {checkpoints}",
            expected="folders with a forecast.json",
            remedy=f"run 'forecast train {card.name}' first, or name its folder with `checkpoints=`",
        )
    notes = {str(entry.path): entry.note for entry in found}
    chosen = choose_models(as_models(found, family=card.name), sizes, family=card.name)
    return [request_of_note(entry.name, notes[entry.name]) for model in chosen for entry in choose_revisions(model, revisions)]
