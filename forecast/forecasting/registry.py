"""The methods by name, found in the folder `methods/`."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache

from forecast.core.errors import UsageError
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
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"unknown method '{name}'" + (f" (did you mean '{near[0]}'?)" if near else ""),
            expected="auto or one of " + ", ".join(known),
        )
    return known[name]
