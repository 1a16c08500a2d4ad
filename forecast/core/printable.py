"""Names that anyone may have chosen, as text that a terminal, a page or a picture shows without acting on it."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"
"""Zero-width (non-)joiner: Persian and many emoji are written with them, and they move nothing."""
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control, format (bidirectional overrides), surrogate, line separator, paragraph separator."""


def printable(text: str) -> str:
    r"""Return the text with everything that is not shown but obeyed written as an escape, as Python's `repr` would.

    >>> print(printable("a\x1b[31mb\nc\u202ed"))
    a\x1b[31mb\nc\u202ed
    >>> printable("naïve 模型 [red] 😀")
    'naïve 模型 [red] 😀'
    """
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
