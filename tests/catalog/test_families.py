"""Family cards: the ones that ship, and every way a card can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from forecast.catalog.families import family_names, load_families, load_family, read_family
from forecast.core.errors import InputError, UsageError
from forecast.core.units import FlopsConvention

CARD = """\
family: tiny
title: Tiny
flops_convention: 6nd-total
tokens_per_step: {value: 1000, source: "https://example.org/tiny"}
revisions:
  steps: [0, 1, {from: 10, to: 30, every: 10}]
  final: 30
  source: "https://example.org/tiny"
models:
  - name: tiny-1m
    size: 1m
    hub: lab/tiny-1m
    params: 1000000
    params_non_embedding: 400000
    source: "https://example.org/tiny"
"""


@pytest.fixture
def write(tmp_path: Path):
    def write_card(text: str) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_card


@pytest.mark.parametrize("name", ["pythia", "pythia-deduped"])
def test_pythia_is_complete(name: str) -> None:
    card = load_family(name)
    assert [model.size for model in card.models] == ["70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"]
    steps = [0, *(2**power for power in range(10)), *range(1000, 143001, 1000)]
    for model in card.models:
        assert [revision.step for revision in model.revisions] == steps
        assert len(model.revisions) == 154
        assert model.revisions[-1].is_final
        assert sum(revision.is_final for revision in model.revisions) == 1
        assert model.revisions[-1].tokens == 299_892_736_000
        assert model.revisions[1].tokens == 2_097_152
        assert model.hub.startswith("EleutherAI/pythia-")
        assert model.hub.endswith("-deduped") == name.endswith("-deduped")


@pytest.mark.parametrize("name", ["pythia", "pythia-deduped"])
def test_pythias_counts_are_those_of_its_shapes(name: str) -> None:
    # GPT-NeoX with biases and untied embeddings: N = 2 V d + L (12 d^2 + 13 d) + 2 d, shapes from the suite's training
    # configurations (models/*/pythia-*.yml), V padded to a multiple of 128 per tensor-parallel rank.
    shapes = {
        "70m": (6, 512, 50304),
        "160m": (12, 768, 50304),
        "410m": (24, 1024, 50304),
        "1b": (16, 2048, 50304),
        "1.4b": (24, 2048, 50304),
        "2.8b": (32, 2560, 50304),
        "6.9b": (32, 4096, 50432),
        "12b": (36, 5120, 50688),
    }
    for model in load_family(name).models:
        layers, width, vocabulary = shapes[model.size]
        non_embedding = layers * (12 * width**2 + 13 * width) + 2 * width
        assert model.params_non_embedding == non_embedding
        assert model.params == non_embedding + 2 * vocabulary * width


def test_pythias_schedule_warms_up_and_decays_to_a_tenth() -> None:
    fractions = {revision.step: revision.lr_fraction for revision in load_family("pythia").models[0].revisions}
    assert fractions[0] == 0
    assert fractions[1000] == pytest.approx(1000 / 1430)
    assert fractions[143000] == pytest.approx(0.1)
    decaying = [fractions[step] for step in range(2000, 143001, 1000)]
    assert decaying == sorted(decaying, reverse=True)


def test_all_shipped_cards_are_valid_and_consistent() -> None:
    hubs: list[str] = []
    for card in load_families():
        assert card.is_in_house or len(card.models) >= 2
        for model in card.models:
            hubs.append(model.hub)
            assert model.source.startswith("https://")
            assert model.revisions
            assert sum(revision.is_final for revision in model.revisions) <= 1
            tokens = [revision.tokens for revision in model.revisions if revision.step is not None]
            assert tokens == sorted(tokens)
            if card.flops_convention is FlopsConvention.SIX_ND_NON_EMBEDDING:
                assert model.params_non_embedding is not None
    assert len(hubs) == len(set(hubs))


def test_a_card_is_read(write) -> None:
    card = read_family(write(CARD))
    (model,) = card.models
    assert [(entry.name, entry.step, entry.tokens, entry.is_final) for entry in model.revisions] == [
        ("step0", 0, 0, False),
        ("step1", 1, 1000, False),
        ("step10", 10, 10000, False),
        ("step20", 20, 20000, False),
        ("step30", 30, 30000, True),
    ]
    assert not card.is_in_house


def test_a_model_may_have_its_own_revisions(write) -> None:
    own = CARD.replace(
        "    params: 1000000",
        """\
    revisions:
      list:
        - {name: late, step: 7, tokens: 900}
        - {name: main, tokens: 1000, final: true}
      source: "https://example.org/own"
    params: 1000000""",
    )
    (model,) = read_family(write(own)).models
    assert [(entry.name, entry.step, entry.tokens, entry.is_final) for entry in model.revisions] == [
        ("late", 7, 900, False),
        ("main", None, 1000, True),
    ]


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("title: Tiny", "titel: Tiny", 2, "field 'titel' has no meaning here.*did you mean 'title'"),
        ("title: Tiny\n", "", 1, "lacks 'title'"),
        ("family: tiny", "family: other", 1, "field 'family' is 'other'; expected the file's name"),
        ("6nd-total", "6nd", 3, "field 'flops_convention' is '6nd'; expected one of"),
        ("flops_convention: 6nd-total\n", "", 1, "lacks 'flops_convention'"),
        ("{value: 1000, source", "{value: -1, source", 4, "field 'tokens_per_step.value' is -1"),
        ("{value: 1000, source", "{value: 1000.5, source", 4, "field 'tokens_per_step.value' is 1000.5"),
        ('{value: 1000, source: "https://example.org/tiny"}', "1000", 4, "field 'tokens_per_step' is 1000"),
        ('{value: 1000, source: "https://example.org/tiny"}', "{value: 1000}", 4, "field 'tokens_per_step' lacks 'source'"),
        ("final: 30", "final: 31", 7, "field 'revisions.final' is 31; expected one of the steps"),
        ("every: 10", "every: 0", 6, r"field 'revisions.steps\[2\].every' is 0"),
        ("to: 30", "to: 35", 6, r"field 'revisions.steps\[2\].to' is 35"),
        ("params: 1000000", "params: many", 13, r"field 'models\[0\].params' is 'many'"),
        ("params: 1000000", "params: true", 13, r"field 'models\[0\].params' is True"),
        ("params_non_embedding: 400000", "params_non_embedding: 2000000", 14, "at most params"),
        ("hub: lab/tiny-1m", "hub: lab/tiny/1m", 12, r"field 'models\[0\].hub'"),
        ("hub: lab/tiny-1m", "hub: lab/tiny-1m\n    hub: lab/x", 13, r"field 'models\[0\].hub' occurs twice"),
        ('    source: "https://example.org/tiny"', '    source: "a paper"', 15, "expected a web address"),
        ('    source: "https://example.org/tiny"', "", 10, r"field 'models\[0\]' lacks 'source'"),
        ("  steps: [0, 1, {from: 10, to: 30, every: 10}]\n", "", 5, "both or neither of 'steps' and 'list'"),
        (
            "    params: 1000000",
            "    flops: 7\n    params: 1000000",
            13,
            r"'models\[0\].flops' is 7; expected a number of training",
        ),
        ("{value: 1000, source", "{value: 10000000000000000, source", 10, "tokens is .* of checkpoint 'step1'"),
        ("family: tiny", "family: [tiny", 2, "expected"),
        ("family: tiny", "family: tiny: small", 1, "mapping values are not allowed"),
    ],
)
def test_card_errors_name_file_line_and_field(write, old: str, new: str, line: int, message: str) -> None:
    assert old in CARD
    path = write(CARD.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as caught:
        read_family(path)
    assert f"{path}, line {line}:" in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "just text\n", "\x00\x01"])
def test_files_that_are_no_cards(write, text: str) -> None:
    with pytest.raises(InputError, match=r"tiny\.yaml"):
        read_family(write(text))


def test_bad_utf8_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_bytes(b"family: \xff\xfe")
    with pytest.raises(InputError, match=r"tiny\.yaml is not UTF-8: byte 8"):
        read_family(path)
    with pytest.raises(InputError, match="no card"):
        load_family(str(tmp_path / "none.yaml"))


def test_two_models_of_one_name(write) -> None:
    double = CARD + CARD.split("models:\n")[1].replace("lab/tiny-1m", "lab/other")
    with pytest.raises(InputError, match="repeats the name 'tiny-1m' of line 10"):
        read_family(write(double))


def test_unknown_families_get_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'pythia'"):
        load_family("pythai")
    assert load_family("Pythia_Deduped").name == "pythia-deduped"
    assert "pythia" in family_names()
