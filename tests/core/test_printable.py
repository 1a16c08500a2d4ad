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
    if all(unicodedata.category(c)[0] in "LNPSM" or c == " " for c in text):
        assert shown == text


@given(ANY_TEXT)
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
