"""The methods by name, found in the folder `methods/`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from forecast.core.errors import UsageError
from forecast.core.nearest import did_you_mean
from forecast.forecasting import methods
from forecast.forecasting.method import Method


@cache
def all_methods() -> dict[str, Method]:
    """Return every method by name, in the order of their names."""
    found: dict[str, Method] = {}
    for module in pkgutil.iter_modules(methods.__path__):
        offered: tuple[Method, ...] = importlib.import_module(f"forecast.forecasting.methods.{module.name}").METHODS
        found |= {method.name: method for method in offered}
    return dict(sorted(found.items()))


def get_method(name: str) -> Method:
    """Return one method.

    Raises:
        UsageError: there is no such method; the nearest name is suggested.

    >>> get_method("persistence").name
    'persistence'
    """
    known = all_methods()
    if name not in known:
        raise UsageError(
            f"unknown method '{name}'", expected="auto or one of " + ", ".join(known), remedy=did_you_mean(name, known)
        )
    return known[name]
