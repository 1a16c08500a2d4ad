"""Every law, whichever there are: derivatives, recovery of known parameters, description."""

from __future__ import annotations

import pytest

from forecast.laws import Law, list_laws


@pytest.mark.parametrize("law", list_laws(), ids=lambda law: law.name)
def test_a_law_describes_itself(law: Law) -> None:
    assert law.formula.count("=") >= 1
    assert law.title
    assert law.reference
    assert len(set(law.names)) == len(law.names)
    assert set(law.linear) <= set(law.names)
    for parameter in law.parameters:
        assert parameter.meaning
        assert parameter.lower < parameter.upper
        assert parameter.lower >= 0 or not parameter.log
    for fit in law.published:
        assert set(fit.params) == set(law.names)
        assert fit.source
