"""Whatever a name holds, what is shown of it does nothing."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from forecast.core.printable import one_line, printable

ANY_TEXT = st.text(st.characters(codec=None), max_size=60)  # lone surrogates, controls and all


@given(ANY_TEXT)
def test_nothing_that_is_obeyed_is_left_and_nothing_visible_is_changed(text: str) -> None:
    shown = printable(text)
    assert {unicodedata.category(c) for c in shown if c not in "\u200c\u200d"}.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    shown.encode("utf-8")
    assert printable(shown) == shown
    begins_with_a_mark = unicodedata.category(text[:1] or " ") in {"Mn", "Me", "Sk"}
    if not begins_with_a_mark and all(unicodedata.category(c)[0] in "LNPSM" or c == " " for c in text):
        assert shown == text


def test_a_mark_with_nothing_to_lean_on_is_written_out() -> None:
    assert printable("\u0301\u0301a") == "\\u0301\u0301a"
    assert printable("a\u0301") == "a\u0301"
    assert printable("\u0301" * 5000).startswith("\\u0301")


@given(ANY_TEXT)
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
