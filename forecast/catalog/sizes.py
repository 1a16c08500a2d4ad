"""Which models of a family `--sizes` means: names, numbers, or a range of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forecast.catalog.families import ModelCard
from forecast.core.errors import UsageError
from forecast.core.nearest import suggest

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([kmbt]?)", re.IGNORECASE)
_FACTOR = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def parse_count(text: str) -> float | None:
    """Read `70m`, `1.4B` or `20000000` as a number; None when it is none.

    >>> parse_count("1.4b"), parse_count("70M"), parse_count("huge")
    (1400000000.0, 70000000.0, None)
    """
    match = _NUMBER.fullmatch(text.strip())
    return float(match[1]) * _FACTOR[match[2].lower()] if match else None


def nominal_params(model: ModelCard) -> float:
    """Parameters as the size's label says them, or else as counted; a range is read in these."""
    labelled = parse_count(model.size)
    if labelled is not None and labelled >= 1e5:
        return labelled
    return float(model.params or 0)


def choose_models(models: Sequence[ModelCard], sizes: str, *, family: str) -> tuple[ModelCard, ...]:
    """Return the models that `sizes` names, smallest first, each once.

    `sizes` is a comma-separated list of labels (`70m`), model names (`pythia-70m`) and ranges (`70m..1.4b`, `..1b`, `410m..`),
    whose ends may be labels or any number of parameters. An empty text means all.

    Raises:
        UsageError: a name or number that no model has, a range that holds none, a family with no listed models.
    """
    ordered = sorted(models, key=lambda model: (nominal_params(model), model.name))
    if not sizes.strip():
        return tuple(ordered)
    wanted: set[str] = set()
    for part in sizes.split(","):
        token = part.strip().lower()
        if not token:
            raise UsageError(f"`sizes=` '{sizes}' has an empty part", expected="e.g. 70m..1.4b or 70m,410m")
        chosen = _in_range(ordered, token, family) if ".." in token else _by_name(ordered, token, family)
        wanted.update(model.name for model in chosen)
    return tuple(model for model in ordered if model.name in wanted)


def _by_name(models: Sequence[ModelCard], token: str, family: str) -> list[ModelCard]:
    found = [model for model in models if token in {model.size, model.name.lower(), model.hub.lower()}]
    if found:
        return found
    number = parse_count(token)
    found = [model for model in models if number is not None and nominal_params(model) == number]
    if found:
        return found
    labels = list(dict.fromkeys(model.size for model in models))
    raise UsageError(f"family '{family}' has no size '{token}'", expected="one of its sizes", remedy=_size_hint(token, labels))


def _size_hint(token: str, labels: Sequence[str]) -> str:
    number = parse_count(token)
    counted = [(label, parse_count(label)) for label in labels]
    numeric = [(label, value) for label, value in counted if value]
    if number and numeric:
        near = sorted(numeric, key=lambda entry: abs(entry[1] / number - 1.0))[:1]
        return f"did you mean '{near[0][0]}'? Sizes: " + ", ".join(labels)
    return suggest(token, labels, kind="size")


def _in_range(models: Sequence[ModelCard], token: str, family: str) -> list[ModelCard]:
    low_text, _, high_text = token.partition("..")
    low = _bound(models, low_text, family) if low_text else 0.0
    high = _bound(models, high_text, family) if high_text else float("inf")
    if low > high:
        raise UsageError(
            f"`sizes=` {token} runs downwards", expected="the smaller size first", remedy=f"{high_text}..{low_text}"
        )
    # A thousandth of slack: labels are rounded, and 1.4b must hold a model labelled 1.4b.
    found = [model for model in models if low * 0.999 <= nominal_params(model) <= high * 1.001]
    if not found:
        labels = ", ".join(dict.fromkeys(model.size for model in models))
        raise UsageError(f"`sizes=` {token} holds no model of '{family}'", expected=f"a range over {labels}")
    return found


def _bound(models: Sequence[ModelCard], text: str, family: str) -> float:
    named = [model for model in models if text in {model.size, model.name.lower()}]
    if named:
        return nominal_params(named[0])
    number = parse_count(text)
    if number is None:
        labels = list(dict.fromkeys(model.size for model in models))
        raise UsageError(
            f"'{text}' is neither a size of '{family}' nor a number",
            expected="e.g. 70m",
            remedy=suggest(text, labels, kind="size"),
        )
    return number
