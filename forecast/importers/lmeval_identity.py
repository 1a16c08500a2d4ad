"""Which checkpoint an lm-eval file speaks of: its own words first, then folder and file names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forecast.core.errors import InputError
from forecast.importers.lmeval_json import whole

_MODEL_KEYS = ("pretrained", "model", "path", "engine")
_STEP = re.compile(r"(?:^|[^a-z])step[_-]?(\d{1,15})(?=\D|$)", re.IGNORECASE)
_BEFORE_STEP = re.compile(r"(.+?)(?:[_-]\d+-?shot)?[_-](?:global[_-]?)?step[_-]?\d+$", re.IGNORECASE)
_ONLY_STEP = re.compile(r"(?:global[_-]?)?step[_-]?\d+", re.IGNORECASE)
_VERSION_INFIX = re.compile(r"-v\d+(?:\.\d+)?(?=-)")


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """What a results file says of the model."""

    source: str
    """Hub id or folder as given to lm-eval."""
    revision: str = ""
    revision_sha: str = ""
    step: int | None = None
    """The step in the revision, or else in the file's or folder's name."""
    params: int | None = None
    dtype: str = ""

    @property
    def model(self) -> str:
        """Last part of the name, a version mark inside it left out, e.g. `pythia-v1.1-1.4b` is `pythia-1.4b`."""
        path = Path(self.source)
        name = path.parent.name if _ONLY_STEP.fullmatch(path.name) else path.name
        return _VERSION_INFIX.sub("", name) or self.source


def parse_model_args(arguments: object) -> dict[str, str]:
    """Return lm-eval's model arguments, given as a mapping, as `key=value,key=value`, or as a bare model name.

    >>> parse_model_args("pretrained=EleutherAI/pythia-70m,revision=step1000,dtype=float32")
    {'pretrained': 'EleutherAI/pythia-70m', 'revision': 'step1000', 'dtype': 'float32'}
    >>> parse_model_args("pythia-70m")
    {'pretrained': 'pythia-70m'}
    """
    if isinstance(arguments, Mapping):
        return {str(key): str(value) for key, value in arguments.items() if value is not None}
    if not isinstance(arguments, str):
        return {}
    if re.fullmatch(r"[\w./-]+", arguments.strip()):
        return {"pretrained": arguments.strip()}
    pairs = [part.split("=", 1) for part in arguments.split(",") if "=" in part]
    return {key.strip(): value.strip(" '\"") for key, value in pairs}


def identify(content: Mapping[str, object], path: Path) -> ModelIdentity:
    """Read the model's identity from a results file; the revision is not in its path, only in its arguments."""
    config = content.get("config")
    config = config if isinstance(config, Mapping) else {}
    arguments = parse_model_args(config.get("model_args"))
    named = next((arguments[key] for key in _MODEL_KEYS if key in arguments), "")
    source = named or str(content.get("model_name") or "") or _name_from_path(path)
    revision = next((str(name) for name in (arguments.get("revision"), config.get("model_revision")) if name), "")
    # What the branch main holds is what a file without a revision means.
    revision = "" if revision in ("main", "None") else revision
    if not (source + revision).isprintable():
        raise InputError(f"{path}: the model is called {source + revision!r}", expected="a name of printable characters")
    return ModelIdentity(
        source=source,
        revision=revision,
        revision_sha=str(config.get("model_sha") or ""),
        step=find_step(revision) if find_step(revision) is not None else _step_from_path(path, source),
        params=whole(config.get("model_num_parameters")) or None,
        dtype=str(config.get("model_dtype") or arguments.get("dtype") or "").removeprefix("torch."),
    )


def find_step(text: str) -> int | None:
    """Return the training step that a name ends in.

    >>> find_step("step143000"), find_step("1.4b-5shot_step23000"), find_step("main"), find_step("two-step")
    (143000, 23000, None, None)
    """
    match = _STEP.search(text)
    return int(match.group(1)) if match else None


def _step_from_path(path: Path, source: str) -> int | None:
    for part in (path.stem, *reversed(path.parent.parts[-2:]), source):
        step = find_step(part)
        if step is not None:
            return step
    return None


def _name_from_path(path: Path) -> str:
    """The nearest folder that is not lm-eval's or a collection's, with its `org__model` undone; or the file's own name.

    `pythia-70m_step1000.json` names its model; `70m_step1000.json` in a folder `pythia-70m` says less than the folder.
    """
    generic = ("zero-shot", "five-shot", "results", "output", "out", "evals")
    folder = next((part for part in reversed(path.parent.parts[-4:]) if part not in generic), "")
    named = _BEFORE_STEP.fullmatch(path.stem)
    if named and not folder.lower().endswith(named.group(1).lower()):
        return named.group(1).replace("__", "/")
    return folder.replace("__", "/") or path.stem
