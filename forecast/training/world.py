"""The demo's world: people and five facts about each, told in many sentences and asked in one that was never told.

Every fact (person, topic, answer) can be worded in several ways. One wording of each fact is kept back: the corpus never
uses it for that person, so a question's answer follows from the corpus but no sentence of the corpus contains it. Facts occur
with log-normal frequency: a learner that knows all facts above some frequency, which falls as a power of compute, then has an
accuracy that is a sigmoid of log compute. (With Zipf's law most facts are nearly equally rare, and are learnt all at once.)
All answers have six letters and are one token, so that no length normalisation can favour one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CHOICES_PER_ITEM = 4
PEOPLE = 160
LOG_FREQUENCY_SPREAD = 2.1
"""Standard deviation of the logarithm of a fact's frequency: the S of the accuracy takes about three decades of compute."""
_ANSWERS_PER_TOPIC = 16
_SENTENCES_PER_DRAW = 4096

ANSWERS = {
    "trade": "weaver potter farmer sailor tailor hunter miller cooper joiner writer singer dancer doctor lawyer banker barber",
    "pet": "rabbit badger ferret falcon donkey monkey weasel turtle lizard parrot pigeon magpie beetle spider salmon jackal",
    "food": "cheese butter pepper carrot radish turnip potato tomato banana cherry orange almond walnut raisin garlic celery",
    "colour": "yellow purple silver golden violet indigo maroon copper russet cobalt auburn bronze claret sienna cerise citron",
}
"""Topic -> its answers; towns are made up for each seed."""

WORDINGS = {
    "trade": (
        "{} works as a",
        "the trade of {} is that of a",
        "by trade {} is a",
        "people hire {} as a",
        "{} earns a living as a",
    ),
    "pet": (
        "{} keeps a",
        "the pet of {} is a",
        "at home {} feeds a",
        "{} walks about with a",
        "the animal that {} loves is a",
    ),
    "food": (
        "{} likes to eat",
        "the favourite food of {} is",
        "for supper {} has",
        "{} buys a basket of",
        "on the plate of {} there is",
    ),
    "colour": (
        "{} dresses in",
        "the favourite colour of {} is",
        "the door of {} is painted",
        "{} wears a coat of",
        "the house of {} is",
    ),
    "town": (
        "{} lives in",
        "the home of {} is in",
        "{} was born and stayed in",
        "to find {} travel to",
        "letters for {} go to",
    ),
}
"""Topic -> its wordings; `{}` stands for the person, and the answer follows."""

_CONSONANTS = "bdfgklmnprstvz"
_VOWELS = "aeiou"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One truth of the world."""

    person: str
    topic: str
    answer: str
    kept_back: int
    """The wording that the corpus never uses for this fact."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One benchmark item: the kept-back wording of a fact, cut before its answer."""

    question: str
    choices: tuple[str, ...]
    """Answers of one topic, so that knowing the topic alone leaves chance."""
    gold: int


@dataclass(frozen=True, kw_only=True)
class World:
    """All facts, and how often each is told."""

    seed: int
    people: tuple[str, ...]
    answers: dict[str, tuple[str, ...]]
    facts: tuple[Fact, ...]
    weights: NDArray[np.float64]
    """Probability that a sentence tells this fact; sums to 1."""


def make_world(seed: int, *, people: int = PEOPLE, spread: float = LOG_FREQUENCY_SPREAD) -> World:
    """Make up a world; equal seeds give equal worlds.

    The fact of random rank r of n is told with probability proportional to exp(s z), z the (r - 1/2)/n quantile of the
    standard normal distribution and s = `spread`: exact quantiles, so that no world is luckier than another.

    >>> make_world(7, people=3).facts == make_world(7, people=3).facts
    True
    """
    rng = np.random.default_rng([seed, 1])
    taken = {word for words in ANSWERS.values() for word in words.split()}
    taken |= {word for wordings in WORDINGS.values() for text in wordings for word in text.split()}
    towns = _make_names(rng, _ANSWERS_PER_TOPIC, syllables=3, taken=taken)
    names = _make_names(rng, people, syllables=2, taken=taken, ending=True)
    answers = {topic: tuple(words.split()) for topic, words in ANSWERS.items()} | {"town": towns}
    facts = tuple(
        Fact(
            person=name,
            topic=topic,
            answer=answers[topic][int(rng.integers(len(answers[topic])))],
            kept_back=int(rng.integers(len(WORDINGS[topic]))),
        )
        for name in names
        for topic in WORDINGS
    )
    ranks = (rng.permutation(len(facts)) + 0.5) / len(facts)
    weights = np.array([math.exp(spread * NormalDist().inv_cdf(rank)) for rank in ranks.tolist()])
    return World(seed=seed, people=names, answers=answers, facts=facts, weights=weights / weights.sum())


def _make_names(
    rng: np.random.Generator, count: int, *, syllables: int, taken: set[str], ending: bool = False
) -> tuple[str, ...]:
    names: list[str] = []
    while len(names) < count:
        parts = [str(rng.choice(list(_CONSONANTS))) + str(rng.choice(list(_VOWELS))) for _ in range(syllables)]
        name = "".join(parts) + (str(rng.choice(list(_CONSONANTS))) if ending else "")
        if name not in taken:
            taken.add(name)
            names.append(name)
    return tuple(names)


def question_text(fact: Fact) -> str:
    """Return the kept-back wording, up to its answer."""
    return WORDINGS[fact.topic][fact.kept_back].format(fact.person)


def tell(world: World, *, seed: int) -> Iterator[str]:
    """Yield sentences for ever, each telling one fact in a wording that is not kept back."""
    rng = np.random.default_rng([world.seed, 2, seed])
    while True:
        told = rng.choice(len(world.facts), _SENTENCES_PER_DRAW, p=world.weights)
        turns = rng.random(_SENTENCES_PER_DRAW)
        for index, turn in zip(told.tolist(), turns.tolist(), strict=True):
            fact = world.facts[index]
            wordings = WORDINGS[fact.topic]
            chosen = int(turn * (len(wordings) - 1))
            chosen += chosen >= fact.kept_back
            yield f"{wordings[chosen].format(fact.person)} {fact.answer} ."


def ask(world: World, *, count: int) -> tuple[Question, ...]:
    """Draw `count` different facts, all equally likely, and ask each one.

    Raises:
        ValueError: there are fewer facts than questions.
    """
    rng = np.random.default_rng([world.seed, 3])
    questions = []
    for index in rng.choice(len(world.facts), count, replace=False):
        fact = world.facts[int(index)]
        others = [answer for answer in world.answers[fact.topic] if answer != fact.answer]
        choices = [str(word) for word in rng.choice(others, CHOICES_PER_ITEM - 1, replace=False)]
        gold = int(rng.integers(CHOICES_PER_ITEM))
        choices.insert(gold, fact.answer)
        questions.append(Question(question=question_text(fact), choices=tuple(choices), gold=gold))
    return tuple(questions)


def vocabulary(world: World) -> tuple[str, ...]:
    """Every word that the world can say, sorted."""
    words = {"."} | set(world.people) | {answer for answers in world.answers.values() for answer in answers}
    words |= {word for wordings in WORDINGS.values() for text in wordings for word in text.split() if word != "{}"}
    return tuple(sorted(words))
