"""Training blocks: what they say, and every way they can be wrong, by file, line and field."""

from __future__ import annotations

import pytest

from forecast.catalog.training import Architecture, ScheduleKind, read_recipe
from forecast.core.errors import InputError

CARD = """\
family: tiny
title: Tiny
training:
  architecture: llama
  context_length: 64
  schedule: {kind: wsd, warmup: 0.1, decay: 0.3}
  members:
    - {name: a, hidden_size: 24, layers: 2, heads: 2, tokens: 2e5, branches: [50000, 1e5]}
    - {name: b, hidden_size: 48, layers: 2, heads: 3, tokens: 400000, learning_rate: 0.01, batch_tokens: 640}
"""


def write(folder, text):
    path = folder / "tiny.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_block_becomes_a_recipe_with_defaults(tmp_path):
    recipe = read_recipe(write(tmp_path, CARD))
    assert recipe.family == "tiny"
    assert recipe.architecture is Architecture.LLAMA
    assert recipe.schedule.kind is ScheduleKind.WSD
    first, second = recipe.members
    assert (first.tokens, first.branches, first.intermediate_size) == (200_000, (50_000, 100_000), 64)
    assert (first.learning_rate, second.learning_rate, second.batch_tokens) == (None, 0.01, 640)
    assert recipe.members[0].line == 8


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("architecture: llama", "architecture: mamba", r"tiny\.yaml, line 4: field 'training\.architecture' is 'mamba'"),
        ("context_length: 64", "context_length: -1", r"line 5: field 'training\.context_length'"),
        ("context_length: 64", "contextlength: 64", r"did you mean 'context_length'"),
        ("kind: wsd", "kind: linear", r"line 6: field 'training\.schedule\.kind'"),
        ("kind: wsd", "kind: cosine", r"line 6: field 'training\.schedule\.decay' has no meaning for a cosine"),
        ("heads: 3", "heads: 5", r"line 9: field 'training\.members\[1\]\.heads' is 5"),
        ("heads: 3", "heads: 16", r"even head size"),
        ("tokens: 400000", "tokens: 10", r"line 9: field 'training\.members\[1\]\.tokens'"),
        ("tokens: 400000", "tokens: many", r"is 'many'"),
        ("[50000, 1e5]", "[1e5, 50000]", r"budgets that rise"),
        ("name: b", "name: a", r"repeats the name 'a' of line 8"),
        ("name: b", "name: ../b", r"a name that can be a folder's"),
        ("learning_rate: 0.01", "learning_rate: 0", r"learning_rate"),
        ("training:", "trainings:", r"lacks 'training'"),
    ],
)
def test_mistakes_are_named_where_they_stand(tmp_path, old, new, message):
    assert old in CARD
    with pytest.raises(InputError, match=message):
        read_recipe(write(tmp_path, CARD.replace(old, new)))
