"""Records, arrays and numpy numbers as what JSON can hold."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass


def to_plain(value: object) -> object:
    """Turn records, arrays and numpy numbers into what JSON can hold; NaN and infinities become null.

    Fields of records whose metadata say `plain: False` are left out: they are there to be drawn.

    >>> import numpy as np
    >>> to_plain({"a": np.array([1.0, np.nan])})
    {'a': [1.0, None]}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            entry.name: to_plain(getattr(value, entry.name)) for entry in fields(value) if entry.metadata.get("plain", True)
        }
    # Whoever has an array has imported numpy; a command that has none starts without it.
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return [to_plain(entry) for entry in value.tolist()]
    if numpy is not None and isinstance(value, numpy.generic):
        return to_plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_plain(entry) for key, entry in value.items()}
    if isinstance(value, str | int | bool) or value is None:
        return value
    if isinstance(value, Sequence):
        return [to_plain(entry) for entry in value]
    return str(value)
