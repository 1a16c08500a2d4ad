"""What `--model` means: a folder, a hub id with its revision, or the short name of a model that a card knows."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from forecast.catalog.families import ModelCard, family_names, load_families
from forecast.catalog.requests import request_of
from forecast.catalog.revisions import choose_revisions, final_revision
from forecast.core.errors import InputError, UsageError
from forecast.core.failures import say_failure
from forecast.core.nearest import suggest
from forecast.core.records import CheckpointRequest

BACKEND_SOURCE = "lm-eval:"
"""A request with such a source has no files: a backend's arguments say which model answers."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_SHOWN_CHARACTERS = 200
_COMMIT = re.compile(r"[0-9a-f]{40}")
_STEP_NAME = re.compile(r"(?:^|[-_])step[-_]?(\d+)(?:$|[-_])", re.IGNORECASE)


def read_model(text: str) -> CheckpointRequest:
    """Understand `--model`: a folder, a hub id, or the short name of a model that a card knows; `@` sets off a revision.

    Raises:
        InputError: the text looks like a path, and no folder is there.
        UsageError: it is neither, or a card knows the model but not the revision.
    """
    if not text.strip():
        raise UsageError("`models=` is empty", expected="FOLDER or ORGANISATION/NAME[@REVISION]")
    name, _, revision = text.rpartition("@") if "@" in text else (text, "", "")
    if not _is_folder(text) and _is_folder(name):
        raise UsageError(f"'{text}' gives a revision to a folder", expected="the folder alone")
    check_path(text)
    if _is_folder(text):
        return CheckpointRequest(source=str(Path(text).expanduser()))
    if not _HUB_ID.fullmatch(name) or text.endswith("@"):
        raise UsageError(f"'{text}' is not a folder and not a hub id", expected="FOLDER or ORGANISATION/NAME[@REVISION]")
    return _known_model(name, revision) or _unknown_model(name, revision)


def check_path(text: str) -> None:
    """Refuse a path at which no checkpoint folder is; what looks like no path may be a hub id.

    Raises:
        InputError: a file, no folder at all, a folder that may not be read, or a folder of checkpoints.
    """
    folder = Path(text).expanduser()
    if not _is_folder(text):
        if folder.exists():
            what = "a file" if folder.is_file() else "not a folder"
            raise InputError(f"'{text}' is {what}", expected="a checkpoint folder", remedy=f"try {folder.parent}")
        name = text.rpartition("@")[0] if "@" in text else text
        if text.startswith((".", "/", "~")) or name.count("/") > 1:
            shown = text[:_SHOWN_CHARACTERS]
            raise InputError(f"no folder '{shown}'", expected="a checkpoint folder or a hub id", remedy="check the path")
        return
    inside = [] if (folder / "config.json").exists() else sorted(path.parent for path in folder.glob("*/config.json"))
    if inside:
        remedy = f"e.g. `models=` {inside[0]}"
        raise InputError(f"'{folder}' is not a checkpoint but holds {len(inside)}", expected="one of them", remedy=remedy)


def _is_folder(text: str) -> bool:
    """Whether a folder of that name is there; a name that no file can have, or one that may not be looked at, is an error."""
    try:
        return Path(text).expanduser().is_dir()
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"'{text[:_SHOWN_CHARACTERS]}' cannot be looked at: {say_failure(error).rpartition(': ')[2]}",
            expected="a checkpoint folder that you may read, or a hub id",
        ) from error


def request_of_backend(backend: str) -> CheckpointRequest:
    """The checkpoint that a backend's arguments name by themselves, e.g. a model behind an API.

    >>> request_of_backend("lm-eval:local-completions,model=falcon").model
    'falcon'
    """
    name, *arguments = backend.removeprefix(BACKEND_SOURCE).split(",")
    named = dict(part.split("=", 1) for part in arguments if "=" in part)
    model = named.get("model") or named.get("pretrained") or name
    return CheckpointRequest(source=backend, family=model.split("/")[-1], model=model.split("/")[-1])


def _known_model(name: str, revision: str) -> CheckpointRequest | None:
    for card in load_families():
        for model in card.models:
            if name.lower() in {model.hub.lower(), model.name.lower()}:
                if _COMMIT.fullmatch(revision):
                    # Which of the card's checkpoints a commit is, only the hub knows; the sizes hold for all of them.
                    known = request_of(card, model, final_revision(model))
                    metadata = {key: value for key, value in known.metadata.items() if key != "lr_fraction"}
                    return replace(
                        known, revision=revision, step=None, tokens=None, flops=None, flops_convention=None, metadata=metadata
                    )
                default = _default_revision(model, by_hub_id=name.lower() == model.hub.lower())
                found = choose_revisions(model, revision or default)
                if len(found) != 1:
                    raise UsageError(f"'{name}@{revision}' names {len(found)} checkpoints", expected="one revision behind '@'")
                return request_of(card, model, found[0])
    return None


def _default_revision(model: ModelCard, *, by_hub_id: bool) -> str:
    """A hub id alone means the hub's default branch, as everywhere; a card's short name means the end of its run."""
    has_own_main = any(revision.name == "main" for revision in model.revisions)
    return "main" if by_hub_id and has_own_main else "final"


def _unknown_model(name: str, revision: str) -> CheckpointRequest:
    if "/" not in name:
        known = [model.name for card in load_families() for model in card.models]
        hint = suggest(name, [*known, *family_names()], kind="model")
        if name in family_names():
            raise UsageError(f"'{name}' is a family", expected="one model", remedy=f"use `family=` {name}")
        if hint.startswith("did you mean"):
            raise UsageError(f"no folder and no known model '{name}'", expected="FOLDER or ORGANISATION/NAME", remedy=hint)
    step = _STEP_NAME.search(revision)
    return CheckpointRequest(
        source=name,
        revision=revision,
        model=name.rpartition("/")[2],
        step=int(step[1]) if step else None,
        # A revision that is named after a step is taken for a point within the run.
        is_final=step is None,
    )
