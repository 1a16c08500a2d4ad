"""Names that anyone may have chosen, as text that a terminal, a page or a picture shows without acting on it."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"
"""Zero-width (non-)joiner: Persian and many emoji are written with them, and they move nothing."""
_LEANING = frozenset({"Mn", "Me", "Sk"})
"""Marks and modifiers that are drawn on the character before them: with none before them, nothing is seen."""
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control, format (bidirectional overrides), surrogate, line separator, paragraph separator."""


def printable(text: str) -> str:
    r"""Return the text with everything that is not shown but obeyed written as an escape, as Python's `repr` would.

    >>> print(printable("a\x1b[31mb\nc\u202ed"))
    a\x1b[31mb\nc\u202ed
    >>> print(printable("\u0301a"), printable("a\u0301") == "a\u0301")
    \u0301a True
    >>> printable("naïve 模型 [red] 😀")
    'naïve 模型 [red] 😀'
    """
    if text and unicodedata.category(text[0]) in _LEANING and ord(text[0]) > 127:
        return _escape(text[0]) + _without_controls(text[1:])
    return _without_controls(text)


def _without_controls(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(_escape(char) if unicodedata.category(char) in _UNSEEN and char not in _JOINERS else char for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def one_line(text: str) -> str:
    r"""Return the text with white space, line ends included, drawn together to single spaces, and printable.

    >>> one_line("Parser Error:\n  near 'FORM'\t\x07")
    "Parser Error: near 'FORM' \\x07"
    """
    return printable(" ".join(text.split()))
