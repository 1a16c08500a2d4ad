"""The demo's world: deterministic, answerable, and never answered verbatim."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from forecast.training.world import ANSWERS, LOG_FREQUENCY_SPREAD, WORDINGS, ask, make_world, question_text, tell, vocabulary


@pytest.fixture(scope="module")
def world():
    return make_world(5, people=40)


def test_equal_seeds_give_equal_worlds_and_different_seeds_do_not(world):
    again, other = make_world(5, people=40), make_world(6, people=40)
    assert world.facts == again.facts
    assert np.array_equal(world.weights, again.weights)
    assert list(itertools.islice(tell(world, seed=0), 50)) == list(itertools.islice(tell(again, seed=0), 50))
    assert ask(world, count=20) == ask(again, count=20)
    assert world.facts != other.facts


def test_no_sentence_contains_a_question_with_or_without_its_answer(world):
    corpus = "\n".join(itertools.islice(tell(world, seed=0), 20_000))
    questions = ask(world, count=len(world.facts))
    assert len({question.question for question in questions}) == len(world.facts)
    assert not [question for question in questions if question.question in corpus]


def test_every_told_answer_is_the_asked_one(world):
    truth = {question_text(fact): fact.answer for fact in world.facts}
    for question in ask(world, count=100):
        assert question.choices[question.gold] == truth[question.question]
        assert len(set(question.choices)) == len(question.choices) == 4
    by_person = {(fact.person, fact.answer) for fact in world.facts}
    for sentence in itertools.islice(tell(world, seed=3), 500):
        words = sentence.split()
        person = next(word for word in words if word in world.people)
        assert (person, words[-2]) in by_person


def test_chance_is_a_quarter_and_answers_favour_no_length(world):
    positions = Counter(question.gold for seed in (1, 2, 3) for question in ask(make_world(seed), count=700))
    assert all(400 < positions[place] < 600 for place in range(4))
    assert {len(word) for words in ANSWERS.values() for word in words.split()} == {6}
    assert {len(town) for town in world.answers["town"]} == {6}


def test_frequencies_are_log_normal_and_alike_in_every_world(world):
    logs = np.sort(np.log(world.weights))
    assert world.weights.sum() == pytest.approx(1.0)
    assert np.std(logs) == pytest.approx(LOG_FREQUENCY_SPREAD, rel=0.03)
    assert np.mean(logs) == pytest.approx(np.median(logs), abs=1e-9)
    assert np.allclose(logs, np.sort(np.log(make_world(9, people=40).weights)))


def test_more_questions_than_facts_are_refused(world):
    with pytest.raises(ValueError, match="larger"):
        ask(world, count=len(world.facts) + 1)


def test_words_are_unambiguous(world):
    words = vocabulary(world)
    assert len(words) == len(set(words))
    answers = [word for topic in world.answers.values() for word in topic]
    assert len(answers) == len(set(answers))
    said = {word for wordings in WORDINGS.values() for text in wordings for word in text.split()}
    assert not set(answers) & said
    assert not set(world.people) & (said | set(answers))
