"""Capability forecasting for language-model families.

What the commands do, as a library; `forecast.open(path)` is its front door. Each name is imported when it is first used, so
that `import forecast` stays light; `__init__.pyi` lists them.

>>> import forecast
>>> forecast.FlopsConvention("6nd-total").name
'SIX_ND_TOTAL'
"""

from __future__ import annotations

import functools
import importlib


@functools.cache
def _homes() -> dict[str, str]:
    """Public name -> module it lives in, as the stub beside this file lists them."""
    import ast
    import pkgutil

    stub = pkgutil.get_data("forecast", "__init__.pyi")
    assert stub is not None
    imports = [entry for entry in ast.parse(stub).body if isinstance(entry, ast.ImportFrom)]
    return {name.name: str(entry.module) for entry in imports for name in entry.names}


def __getattr__(name: str) -> object:
    """Import a public name from where it lives."""
    if name == "__all__":
        return sorted(_homes())
    if name.startswith("_") or name not in _homes():
        raise AttributeError(f"module 'forecast' has no attribute {name!r}")
    value = getattr(importlib.import_module(_homes()[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(_homes())
