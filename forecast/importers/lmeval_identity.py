"""Which checkpoint an lm-eval file speaks of: its own words first, then folder and file names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MODEL_KEYS = ("pretrained", "model", "path", "engine")
_STEP = re.compile(r"(?:^|[^a-z])step[_-]?(\d+)(?=\D|$)", re.IGNORECASE)
_VERSION_INFIX = re.compile(r"-v\d+(?:\.\d+)?(?=-)")


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """What a results file says of the model."""

    source: str
    """Hub id or folder as given to lm-eval."""
    revision: str = ""
    revision_sha: str = ""
    step: int | None = None
    """From the revision, else from the file's or folder's name."""
    params: int | None = None
    dtype: str = ""

    @property
    def model(self) -> str:
        """Last part of the name, a version mark inside it left out, e.g. `pythia-v1.1-1.4b` is `pythia-1.4b`."""
        return _VERSION_INFIX.sub("", Path(self.source).name) or self.source


def parse_model_args(arguments: object) -> dict[str, str]:
    """Return lm-eval's model arguments, given as a mapping or as `key=value,key=value`.

    >>> parse_model_args("pretrained=EleutherAI/pythia-70m,revision=step1000,dtype=float32")
    {'pretrained': 'EleutherAI/pythia-70m', 'revision': 'step1000', 'dtype': 'float32'}
    """
    if isinstance(arguments, Mapping):
        return {str(key): str(value) for key, value in arguments.items() if value is not None}
    if not isinstance(arguments, str):
        return {}
    return dict(part.split("=", 1) for part in arguments.split(",") if "=" in part)  # type: ignore[misc, unused-ignore]


def identify(content: Mapping[str, object], path: Path) -> ModelIdentity:
    """Read the model's identity from a results file; the revision is not in its path, only in its arguments."""
    config = content.get("config")
    config = config if isinstance(config, Mapping) else {}
    arguments = parse_model_args(config.get("model_args"))
    named = next((arguments[key] for key in _MODEL_KEYS if key in arguments), "")
    source = named or str(content.get("model_name") or "") or _name_from_path(path)
    revision = arguments.get("revision") or ""
    if not revision and config.get("model_revision") not in (None, "", "main"):
        revision = str(config["model_revision"])
    params = config.get("model_num_parameters")
    return ModelIdentity(
        source=source,
        revision=revision,
        revision_sha=str(config.get("model_sha") or ""),
        step=find_step(revision) if find_step(revision) is not None else _step_from_path(path, source),
        params=params if isinstance(params, int) and params > 0 else None,
        dtype=str(config.get("model_dtype") or arguments.get("dtype") or "").removeprefix("torch."),
    )


def find_step(text: str) -> int | None:
    """Return the training step that a name carries.

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
    """The nearest folder that is not lm-eval's or a collection's, with its `org__model` undone."""
    for part in reversed(path.parent.parts[-4:]):
        if part not in ("zero-shot", "five-shot", "results", "output", "out", "evals"):
            return part.replace("__", "/")
    return path.stem
