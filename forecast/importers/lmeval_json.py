"""JSON as lm-eval writes it, read so that what the store could not keep is refused here, with a reason."""

from __future__ import annotations

import json
import re
from typing import Any

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_LARGEST = 2**62
"""More than any count here can be, and the store's integers hold it."""


def parse_json(text: str, *, names_once: bool = False) -> Any:
    """Parse a JSON text; with `names_once`, an object that says one name twice is an error (json lets the last one win).

    Raises:
        ValueError: no JSON, nested too deeply, or half a character (a lone surrogate), which is no Unicode text.
    """
    try:
        content = json.loads(text, object_pairs_hook=_once if names_once else None)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if _SURROGATE_ESCAPE.search(text):
        try:
            json.dumps(content, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"it holds half a character ({error.object[error.start]!a})") from error
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} occurs twice in one object")
    return content


def whole(value: object) -> int | None:
    """Return a count, also one written as a float or a string; None for anything that is not a count.

    >>> whole(5), whole(5.0), whole("5"), whole(-1), whole(True), whole(0.5), whole(10**400)
    (5, 5, 5, None, None, None, None)
    """
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value[:20])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST else None
