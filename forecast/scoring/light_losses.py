"""Loads transformers' losses without scipy's optimisers: every model imports them, and scoring asks for none."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

_OPTIMISERS = "scipy.optimize"


def load_losses() -> None:
    """Import transformers' losses, in 0.1 s instead of 0.5 s; the losses of object detection load scipy's when called."""
    with suppress(ImportError):  # Another version keeps them elsewhere, and models import them as they always did.
        importlib.import_module("transformers.utils")
        with _standing_in():
            importlib.import_module("transformers.loss.loss_utils")


@contextmanager
def _standing_in() -> Iterator[None]:
    """For a moment, let `from scipy.optimize import linear_sum_assignment` load nothing."""
    if _OPTIMISERS in sys.modules:
        yield
        return
    stand_in = ModuleType(_OPTIMISERS)
    stand_in.__dict__["linear_sum_assignment"] = _linear_sum_assignment
    sys.modules[_OPTIMISERS] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(_OPTIMISERS) is stand_in:
            del sys.modules[_OPTIMISERS]


def _linear_sum_assignment(*args: Any, **settings: Any) -> Any:
    """Scipy's function of this name, loaded now."""
    return importlib.import_module(_OPTIMISERS).linear_sum_assignment(*args, **settings)
