"""The puzzles follow their rules, what is asked was never trained, and a row is what the packer expects."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.core.errors import UsageError
from forecast.training.emergence_world import (
    ALPHABET,
    DEMO_SKILLS,
    KINDS,
    LETTERS,
    ROW_CHARACTERS,
    Skill,
    ask_items,
    draw_rows,
    make_emergence_world,
)

LENGTHS = {"lesser": 8, "codes": 40, "add": 2, "addreversed": 3, "subtract": 2, "digitwise": 3}
SKILLS = tuple(Skill(kind=kind, length=LENGTHS.get(kind, 5)) for kind in KINDS)


@pytest.fixture(scope="module")
def world():
    return make_emergence_world(4, skills=SKILLS)


def answer_by_hand(world, kind: str, prompt: str) -> str:
    """What each rule says, one character at a time."""
    number = [int(part) for part in prompt.replace("-", "+").split("+")] if prompt[0].isdigit() else []
    cipher = {letter: LETTERS[world.cipher[place]] for place, letter in enumerate(LETTERS)}
    rules = {
        "copy": lambda: prompt,
        "reverse": lambda: prompt[::-1],
        "caesar": lambda: "".join(LETTERS[(LETTERS.index(c) + 3) % 16] for c in prompt),
        "rotate": lambda: prompt[-2:] + prompt[:-2],
        "swap": lambda: prompt[1] + prompt[0] + prompt[3] + prompt[2] + prompt[4],
        "sort": lambda: "".join(sorted(prompt)),
        "lesser": lambda: min(prompt[:4], prompt[4:]),
        "cipher": lambda: "".join(cipher[c] for c in prompt),
        "revcipher": lambda: "".join(cipher[c] for c in prompt[::-1]),
        "add": lambda: f"{sum(number):03d}",
        "addreversed": lambda: f"{sum(number):04d}"[::-1],
        "subtract": lambda: f"{number[0] - number[1]:02d}",
        "digitwise": lambda: "".join(str((int(a) + int(b)) % 10) for a, b in zip(*prompt.split("+"), strict=True)),
    }
    return rules[kind]()


@pytest.mark.parametrize("skill", [skill for skill in SKILLS if skill.kind != "codes"], ids=lambda skill: skill.name)
def test_answers_follow_the_rule(world, skill):
    items = ask_items(world, skill, count=50)
    assert len(set(items.prompts)) == 50
    for prompt, answer in zip(items.prompts, items.answers, strict=True):
        assert answer == answer_by_hand(world, skill.kind, prompt[1:-1])


def test_what_follows_a_rule_is_asked_untrained_and_codes_as_told(world):
    rows = {row.tobytes().decode() for row in draw_rows(world, 60_000, seed=1)}
    trained = {row[: row.index("=") + 1] for row in rows if "=" in row}
    for skill in SKILLS:
        items = ask_items(world, skill, count=40)
        seen = [prompt in trained for prompt in items.prompts]
        assert all(seen) if skill.kind == "codes" else not any(seen)
        if skill.kind == "codes":
            assert all((p + a).ljust(ROW_CHARACTERS, ".") in rows for p, a in zip(items.prompts, items.answers, strict=True))


def test_rows_have_one_length_known_characters_and_an_end_after_every_answer(world):
    rows = draw_rows(world, 4000, seed=2)
    assert rows.shape == (4000, ROW_CHARACTERS)
    texts = [row.tobytes().decode() for row in rows]
    assert set("".join(texts)) <= set(ALPHABET)
    assert all(text.endswith(".") for text in texts if "=" in text)


def test_skills_are_told_by_their_weights():
    skills = [Skill(kind="copy", length=4, weight=3.0), Skill(kind="sort", length=4, weight=1.0)]
    rows = draw_rows(make_emergence_world(0, skills=skills, text_weight=4.0), 20_000, seed=0)
    shares = [np.mean(rows[:, 0] == ord(tag)) for tag in "ABZ"]
    assert shares == pytest.approx([3 / 8, 1 / 8, 4 / 8], abs=0.012)


def test_equal_seeds_give_equal_worlds_and_other_seeds_other_secrets():
    first, again, other = (make_emergence_world(seed) for seed in (1, 1, 2))
    assert np.array_equal(draw_rows(first, 500, seed=3), draw_rows(again, 500, seed=3))
    assert ask_items(first, DEMO_SKILLS[0], count=9) == ask_items(again, DEMO_SKILLS[0], count=9)
    assert not np.array_equal(first.cipher, other.cipher)
    assert not np.array_equal(first.codes["codes64"][1], other.codes["codes64"][1])
    assert not np.array_equal(draw_rows(first, 500, seed=3), draw_rows(first, 500, seed=4))


def test_short_prompts_give_as_many_questions_as_there_are():
    skill = Skill(kind="add", length=1)
    items = ask_items(make_emergence_world(0, skills=[skill]), skill, count=500)
    assert 2 <= len(items.prompts) <= 40


@pytest.mark.parametrize(
    ("skills", "found"),
    [
        ([Skill(kind="divide", length=2)], "unknown skill 'divide'"),
        ([Skill(kind="copy", length=7)], "copy7 takes 17 characters"),
        ([Skill(kind="copy", length=3), Skill(kind="copy", length=3)], "copy3, copy3"),
        ([Skill(kind="codes", length=5000)], "codes5000"),
    ],
)
def test_a_skill_that_cannot_be_told_is_refused(skills, found):
    with pytest.raises(UsageError, match=found):
        make_emergence_world(0, skills=skills)
