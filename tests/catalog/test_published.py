from pathlib import Path

import pytest

from forecast.catalog.published import load_sources, read_source
from forecast.core.errors import InputError


def test_every_table_has_a_card_that_says_where_it_comes_from():
    cards = {card.name: card for card in load_sources()}
    tables = {path.stem for path in Path(next(iter(cards.values())).table).parent.glob("*.parquet")}
    assert set(cards) == tables
    assert {card.licence for card in cards.values()} <= {"Apache-2.0", "MIT"}
    assert all(card.url.startswith("https://") and len(card.commit) >= 7 for card in cards.values())


def test_a_card_that_lacks_its_licence_is_refused(tmp_path):
    card = load_sources()[0].table.with_suffix(".yaml").read_text(encoding="utf-8")
    path = tmp_path / f"{load_sources()[0].name}.yaml"
    path.write_text("\n".join(line for line in card.splitlines() if not line.startswith("licence:")), encoding="utf-8")
    with pytest.raises(InputError, match="licence"):
        read_source(path)
