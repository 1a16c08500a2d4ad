"""A world in which capabilities emerge: short puzzles, of which some are learnt smoothly, some at once, some not for long.

A row is one document of `ROW_CHARACTERS` characters, e.g. `Cdafe=adef....`: the skill's tag, the prompt, `=`, the answer,
and full stops. With the end-of-text token a row is exactly `CONTEXT_LENGTH` tokens, so that packing never cuts one in two and
the model meets every puzzle from its beginning. Prompts of a skill that follows a rule are parted by a hash into those that
are trained and those that are asked; what can only be remembered (`codes`) is asked as it was told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forecast.core.errors import UsageError

CONTEXT_LENGTH = 16
ROW_CHARACTERS = CONTEXT_LENGTH - 1
"""Characters of a row; the end-of-text token follows."""
STOP = "."
"""Ends an answer, and fills the row."""
LETTERS = "abcdefghijklmnop"
DIGITS = "0123456789"
_TAGS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TEXT_TAG = "Z"
ALPHABET = LETTERS + DIGITS + _TAGS + "+-=" + STOP
_HELD_OUT_SHARE = 8
"""One prompt in so many is never trained."""
_CODE_KEY_LETTERS = 3
_CODE_ANSWER_LETTERS = 4
_DRAWS_PER_ITEM = 4 * _HELD_OUT_SHARE
"""Prompts drawn for each item wanted: one in eight is held out, and short prompts repeat."""

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Skill:
    """One kind of puzzle and how often it is told."""

    kind: str
    """One of `KINDS`."""
    length: int
    """Letters of the prompt; digits of each number; number of keys for `codes`."""
    weight: float = 1.0
    """Share of the rows, relative to the other skills."""

    @property
    def name(self) -> str:
        """Kind and length, the name of the task."""
        return f"{self.kind}{self.length}"


@dataclass(frozen=True, kw_only=True)
class Items:
    """Questions of one skill."""

    skill: Skill
    prompts: tuple[str, ...]
    """Tag, prompt and `=`: what the model is given."""
    answers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EmergenceWorld:
    """Skills, and the secrets they rest on: the cipher's table and the codes."""

    seed: int
    skills: tuple[Skill, ...]
    text_weight: float
    """Share of the rows that are made-up words, relative to the skills' weights."""
    cipher: Bytes
    """Letter (0..15) -> letter."""
    codes: dict[str, tuple[Bytes, Bytes]] = field(repr=False)
    """Name of a skill -> keys and their answers, letters 0..15, one row each."""
    words: Bytes = field(repr=False)
    """Rows of text to draw from, as characters."""


Integers = NDArray[np.int64]


def _lesser(prompt: Integers) -> Integers:
    """The lesser half, as strings compare."""
    half = prompt.shape[1] // 2
    left, right = prompt[:, :half], prompt[:, half : 2 * half]
    place = len(LETTERS) ** np.arange(half - 1, -1, -1)
    return np.where(((left @ place) <= (right @ place))[:, None], left, right)


def _swap_pairs(prompt: Integers) -> Integers:
    order = np.arange(prompt.shape[1])
    paired = prompt.shape[1] // 2 * 2
    order[:paired] = order[:paired].reshape(-1, 2)[:, ::-1].reshape(-1)
    return prompt[:, order]


_LETTER_RULES: dict[str, Callable[[Integers], Integers]] = {
    "copy": lambda prompt: prompt,
    "reverse": lambda prompt: prompt[:, ::-1],
    "caesar": lambda prompt: (prompt + 3) % len(LETTERS),
    "rotate": lambda prompt: np.roll(prompt, 2, axis=1),
    "swap": _swap_pairs,
    "sort": lambda prompt: np.sort(prompt, axis=1),
    "lesser": _lesser,
}
"""Kind -> what becomes of the prompt's letters 0..15."""


def _digits(numbers: Integers, length: int) -> Bytes:
    places = 10 ** np.arange(length - 1, -1, -1)
    return (numbers[:, None] // places % 10 + ord("0")).astype(np.uint8)


def _digitwise(first: Integers, second: Integers, length: int) -> Bytes:
    sums = _digits(first, length) - ord("0") + _digits(second, length) - ord("0")
    return (sums % 10 + ord("0")).astype(np.uint8)


_SUMS: dict[str, Callable[[Integers, Integers, int], Bytes]] = {
    "add": lambda first, second, length: _digits(first + second, length + 1),
    "addreversed": lambda first, second, length: _digits(first + second, length + 1)[:, ::-1],
    "subtract": lambda first, second, length: _digits(first - second, length),
    "digitwise": _digitwise,
}
"""Kind -> the answer to two numbers of so many digits."""
_CIPHERS = ("cipher", "revcipher")
KINDS = (*_LETTER_RULES, *_CIPHERS, *_SUMS, "codes")
"""Kinds of puzzle."""


def _draw(world: EmergenceWorld, skill: Skill, rng: np.random.Generator, count: int) -> tuple[Bytes, Bytes]:
    """Draw prompts and their answers, as characters, one row each."""
    if skill.kind == "codes":
        keys, codes = world.codes[skill.name]
        chosen = rng.integers(0, len(keys), count)
        return _letters(keys[chosen]), _letters(codes[chosen])
    if skill.kind in _SUMS:
        return _draw_sums(skill, rng, count)
    prompt = rng.integers(0, len(LETTERS), (count, skill.length))
    if skill.kind in _CIPHERS:
        return _letters(prompt), _letters(world.cipher[prompt if skill.kind == "cipher" else prompt[:, ::-1]])
    return _letters(prompt), _letters(_LETTER_RULES[skill.kind](prompt))


def _draw_sums(skill: Skill, rng: np.random.Generator, count: int) -> tuple[Bytes, Bytes]:
    first, second = rng.integers(0, 10**skill.length, (2, count))
    sign = "-" if skill.kind == "subtract" else "+"
    if sign == "-":
        first, second = np.maximum(first, second), np.minimum(first, second)
    middle = np.full((count, 1), ord(sign), dtype=np.uint8)
    prompt = np.concatenate([_digits(first, skill.length), middle, _digits(second, skill.length)], axis=1)
    return prompt, _SUMS[skill.kind](first, second, skill.length)


def _letters(values: NDArray[np.integer]) -> Bytes:
    return (values + ord("a")).astype(np.uint8)


DEMO_SKILLS = (
    Skill(kind="sort", length=5, weight=1.0),
    Skill(kind="sort", length=6, weight=1.2),
    Skill(kind="codes", length=64, weight=0.8),
    Skill(kind="codes", length=128, weight=1.0),
    Skill(kind="codes", length=256, weight=1.5),
    Skill(kind="caesar", length=6, weight=0.5),
    Skill(kind="reverse", length=6, weight=1.0),
    Skill(kind="cipher", length=5, weight=0.7),
    Skill(kind="copy", length=6, weight=0.5),
    Skill(kind="addreversed", length=2, weight=1.0),
)
DEMO_TEXT_WEIGHT = 2.0


def make_emergence_world(
    seed: int, *, skills: Sequence[Skill] = DEMO_SKILLS, text_weight: float = DEMO_TEXT_WEIGHT
) -> EmergenceWorld:
    """Make up the secrets of a world; equal arguments give equal worlds.

    Raises:
        UsageError: a skill is unknown, named twice or does not fit into a row, or there are too many.

    >>> world = make_emergence_world(3, skills=[Skill(kind="sort", length=4)])
    >>> items = ask_items(world, world.skills[0], count=1)
    >>> sorted(items.prompts[0][1:-1]) == list(items.answers[0])
    True
    """
    rng = np.random.default_rng([seed, 11])
    names = [skill.name for skill in skills]
    if len(set(names)) < len(names) or len(names) >= len(_TAGS):
        raise UsageError(f"{len(names)} skills: {', '.join(names)}", expected=f"up to {len(_TAGS) - 1} different ones")
    unknown = [skill.kind for skill in skills if skill.kind not in KINDS]
    if unknown:
        raise UsageError(f"unknown skill '{unknown[0]}'", expected="one of " + ", ".join(KINDS))
    cipher = rng.permutation(len(LETTERS)).astype(np.uint8)
    codes = {skill.name: _make_codes(rng, skill.length) for skill in skills if skill.kind == "codes"}
    words = _make_text(rng)
    world = EmergenceWorld(seed=seed, skills=tuple(skills), text_weight=text_weight, cipher=cipher, codes=codes, words=words)
    for skill in skills:
        prompt, answer = _draw(world, skill, np.random.default_rng(0), 1)
        used = prompt.shape[1] + answer.shape[1] + 3
        if skill.length < 1 or used > ROW_CHARACTERS:
            raise UsageError(f"{skill.name} takes {used} characters", expected=f"at most {ROW_CHARACTERS}", remedy="shorten it")
    return world


def _make_codes(rng: np.random.Generator, count: int) -> tuple[Bytes, Bytes]:
    base = len(LETTERS)
    if not 1 <= count <= base**_CODE_KEY_LETTERS:
        raise UsageError(f"codes{count}", expected=f"1 to {base**_CODE_KEY_LETTERS} keys")
    numbers = rng.choice(base**_CODE_KEY_LETTERS, count, replace=False)
    keys = (numbers[:, None] // base ** np.arange(_CODE_KEY_LETTERS) % base).astype(np.uint8)
    return keys, rng.integers(0, base, (count, _CODE_ANSWER_LETTERS)).astype(np.uint8)


def _make_text(rng: np.random.Generator, *, rows: int = 4096, vocabulary: int = 300) -> Bytes:
    """Rows of made-up words, drawn by Zipf's law and parted by `-`."""
    words = ["".join(LETTERS[i] for i in rng.integers(0, len(LETTERS), int(rng.integers(2, 6)))) for _ in range(vocabulary)]
    shares = 1.0 / np.arange(1, vocabulary + 1)
    drawn = rng.choice(vocabulary, (rows, 7), p=shares / shares.sum())
    texts = ["-".join(words[i] for i in row)[: ROW_CHARACTERS - 1].ljust(ROW_CHARACTERS - 1, STOP) for row in drawn.tolist()]
    return np.frombuffer("".join(_TEXT_TAG + text for text in texts).encode(), dtype=np.uint8).reshape(rows, ROW_CHARACTERS)


def draw_rows(world: EmergenceWorld, count: int, *, seed: int) -> Bytes:
    """Draw training rows, characters of shape (count, ROW_CHARACTERS), skills mixed by their weights; no held-out prompt."""
    rng = np.random.default_rng([world.seed, 12, seed])
    weights = np.array([*(skill.weight for skill in world.skills), world.text_weight])
    which = rng.choice(len(weights), count, p=weights / weights.sum())
    rows = np.empty((count, ROW_CHARACTERS), dtype=np.uint8)
    for index, skill in enumerate(world.skills):
        places = np.flatnonzero(which == index)
        rows[places] = _skill_rows(world, skill, rng, len(places))
    places = np.flatnonzero(which == len(world.skills))
    rows[places] = world.words[rng.integers(0, len(world.words), len(places))]
    return rows


def _skill_rows(world: EmergenceWorld, skill: Skill, rng: np.random.Generator, count: int) -> Bytes:
    """Rows of one skill whose prompts are not held out."""
    parts: list[Bytes] = []
    while sum(map(len, parts)) < count:
        prompt, answer = _draw(world, skill, rng, count + count // 4 + 8)
        kept = ~_is_held_out(skill, prompt)
        parts.append(_join(world, skill, prompt[kept], answer[kept]))
    return np.concatenate(parts)[:count] if parts else np.empty((0, ROW_CHARACTERS), dtype=np.uint8)


def _join(world: EmergenceWorld, skill: Skill, prompt: Bytes, answer: Bytes) -> Bytes:
    rows = np.full((len(prompt), ROW_CHARACTERS), ord(STOP), dtype=np.uint8)
    rows[:, 0] = ord(_TAGS[world.skills.index(skill)])
    end = 1 + prompt.shape[1]
    rows[:, 1:end] = prompt
    rows[:, end] = ord("=")
    rows[:, end + 1 : end + 1 + answer.shape[1]] = answer
    return rows


def _is_held_out(skill: Skill, prompt: Bytes) -> NDArray[np.bool_]:
    """Whether each prompt is kept for questions; never for what can only be remembered."""
    if skill.kind == "codes":
        return np.zeros(len(prompt), dtype=bool)
    mixed = np.full(len(prompt), 14695981039346656037, dtype=np.uint64)
    for column in prompt.T:  # FNV-1a, whose low bits are good once the high ones are folded in
        mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(1099511628211)
    held_out: NDArray[np.bool_] = (mixed ^ (mixed >> np.uint64(29))) % np.uint64(_HELD_OUT_SHARE) == 0
    return held_out


def ask_items(world: EmergenceWorld, skill: Skill, *, count: int) -> Items:
    """Ask `count` different questions of a skill (fewer where there are not so many), none of them trained but the codes."""
    rng = np.random.default_rng([world.seed, 13, world.skills.index(skill)])
    if skill.kind == "codes":
        keys, codes = world.codes[skill.name]
        chosen = rng.permutation(len(keys))[:count]
        prompt, answer = _letters(keys[chosen]), _letters(codes[chosen])
    else:
        prompt, answer = _draw(world, skill, rng, count * _DRAWS_PER_ITEM)
        kept = np.flatnonzero(_is_held_out(skill, prompt))
        _, first = np.unique(prompt[kept], axis=0, return_index=True)
        kept = kept[np.sort(first)][:count]
        prompt, answer = prompt[kept], answer[kept]
    tag = _TAGS[world.skills.index(skill)]
    return Items(
        skill=skill,
        prompts=tuple(f"{tag}{row.tobytes().decode()}=" for row in prompt),
        answers=tuple(row.tobytes().decode() for row in answer),
    )
