"""Finds the laws: every module of `forecast.laws.formulas` that has a `LAW`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from forecast.core.errors import UsageError
from forecast.laws import formulas
from forecast.laws.law import Law


@cache
def _laws() -> dict[str, Law]:
    found: dict[str, Law] = {}
    for module in pkgutil.iter_modules(formulas.__path__):
        law = importlib.import_module(f"{formulas.__name__}.{module.name}").LAW
        if law.name in found:
            raise ValueError(f"two laws are named {law.name!r}")
        found[law.name] = law
    return dict(sorted(found.items()))


def list_laws() -> tuple[Law, ...]:
    """Return all laws, by name."""
    return tuple(_laws().values())


def get_law(name: str) -> Law:
    """Return the law called `name`; `_` and `-` are the same.

    Raises:
        UsageError: there is no such law.

    >>> get_law("chinchilla").names
    ('A', 'B', 'E', 'alpha', 'beta')
    """
    wanted = name.strip().lower().replace("_", "-")
    laws = _laws()
    if wanted not in laws:
        raise UsageError(f"there is no law '{name}'", expected=f"one of {', '.join(laws)}")
    return laws[wanted]
