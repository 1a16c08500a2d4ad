"""Any exception's message as one useful line: other libraries raise without a message, or with a memory address."""

from __future__ import annotations

import re

from forecast.core.errors import ForecastError

_SENTENCES: tuple[tuple[type[BaseException], str], ...] = (
    (MemoryError, "the machine's memory ran out"),
    (RecursionError, "something in the files is nested too deeply, or refers to itself"),
    (TimeoutError, "it took too long"),
    (StopIteration, "something expected was not found (StopIteration)"),
    (AssertionError, "a condition that the library relies on does not hold (AssertionError)"),
    (NotImplementedError, "the library does not implement it (NotImplementedError)"),
    (ZeroDivisionError, "a number that is divided by is zero"),
    (OverflowError, "a number is too large"),
    (KeyError, "an entry is missing"),
    (IndexError, "a position is outside a list or tensor (IndexError)"),
    (UnicodeError, "the content is not the text it should be"),
)
"""Said instead of an empty message, and before one that is only a value."""
_ADDRESS = re.compile(r"<?\b([\w.]+)(?: object)? at 0x[0-9a-fA-F]+>?")
_MOST_CHARACTERS = 300


def say_failure(error: BaseException) -> str:
    """Return the kind and first line of an exception's message, or a sentence where it has none.

    >>> say_failure(StopIteration())
    'something expected was not found (StopIteration)'
    >>> say_failure(KeyError("model"))
    "an entry is missing: 'model'"
    >>> say_failure(ValueError("no such <torch.Tensor object at 0x7f00>"))
    'ValueError: no such torch.Tensor'
    """
    lines = [" ".join(line.split()) for line in str(error).strip().splitlines()]
    lines = [line for line in lines if line]
    # A heading says nothing without the line below it.
    first = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    text = _ADDRESS.sub(r"\1", first)[:_MOST_CHARACTERS]
    if isinstance(error, ForecastError):
        return text
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    sentence = next((said for kind, said in _SENTENCES if isinstance(error, kind)), "")
    if not text:
        return sentence or f"the library failed without a message ({type(error).__name__})"
    if sentence:
        return f"{sentence}: {text}"
    return f"{type(error).__name__}: {text}"
