"""What the world of puzzles writes is what training and evaluation read: one row is one training sequence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from forecast.catalog.training import read_recipe
from forecast.core.errors import UsageError
from forecast.training.architecture import build_model, count_parameters, padded_vocabulary
from forecast.training.emergence_files import (
    END_TOKEN,
    family_card,
    parameters_of,
    task_name,
    tokens_of,
    write_emergence_world,
)
from forecast.training.emergence_world import ALPHABET, CONTEXT_LENGTH, DEMO_SKILLS, ROW_CHARACTERS, Skill, make_emergence_world
from forecast.training.token_cache import build_cache

SKILLS = (Skill(kind="sort", length=4), Skill(kind="codes", length=16), Skill(kind="add", length=2))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    world = make_emergence_world(2, skills=SKILLS)
    return world, write_emergence_world(world, tmp_path_factory.mktemp("world"), family="tiny", sizes=[12, 8], items=20)


def test_every_document_is_one_training_sequence(written, tmp_path):
    _, files = written
    cache = build_cache(files.corpus, files.tokenizer, tmp_path, end_token=END_TOKEN)
    assert cache.n_tokens == CONTEXT_LENGTH * cache.n_documents >= tokens_of(12)
    rows = np.asarray(cache.open()).reshape(-1, CONTEXT_LENGTH)
    assert (rows[:, -1] == rows[0, -1]).all()
    assert (rows[:, :-1] != rows[0, -1]).all()


def test_the_tokenizer_gives_one_token_per_character_and_back(written):
    from transformers import AutoTokenizer

    _, files = written
    tokenizer = AutoTokenizer.from_pretrained(str(files.tokenizer))
    ids = tokenizer(ALPHABET, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(set(ids)) == len(ALPHABET)
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == ALPHABET
    assert tokenizer.eos_token == END_TOKEN


def test_the_card_is_a_family_whose_sizes_are_as_counted(written):
    _, files = written
    recipe = read_recipe(files.card)
    vocabulary = padded_vocabulary(len(ALPHABET) + 2)
    assert [member.hidden_size for member in recipe.members] == [8, 12]
    for member in recipe.members:
        assert count_parameters(recipe, member, vocabulary).total == parameters_of(member.hidden_size)
        assert member.tokens == tokens_of(member.hidden_size)
        assert member.tokens == pytest.approx(36 * parameters_of(member.hidden_size), rel=0.02)
        model = build_model(recipe, member, vocabulary=vocabulary, end_token=0, seed=0)
        assert sum(value.numel() for value in model.parameters()) == parameters_of(member.hidden_size)


def test_tasks_are_ordinary_generation_tasks_over_json_files(written):
    world, files = written
    assert {path.stem for path in files.tasks.glob("*.yaml")} == {task_name(skill) for skill in world.skills}
    for skill in world.skills:
        task = yaml.safe_load((files.tasks / f"{task_name(skill)}.yaml").read_text(encoding="utf-8"))
        assert task["output_type"] == "generate_until"
        lines = Path(task["dataset_kwargs"]["data_files"]["test"]).read_text(encoding="utf-8").splitlines()
        assert 16 <= len(lines) <= 20
        for entry in map(json.loads, lines):
            assert len(entry["question"] + entry["answer"] + task["generation_kwargs"]["until"][0]) <= ROW_CHARACTERS


@pytest.mark.parametrize("sizes", [[], [12, 12], [13], [4], [132]])
def test_sizes_that_cannot_be_built_are_refused(sizes):
    with pytest.raises(UsageError, match="multiples of 4"):
        family_card("tiny", sizes)


def test_the_demo_has_room_for_all_its_skills():
    assert len(make_emergence_world(0).skills) == len(DEMO_SKILLS) == 10
