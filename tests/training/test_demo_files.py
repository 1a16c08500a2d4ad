"""What the demo writes is what everything else reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from forecast.training.demo_files import TASK_NAME, write_world
from forecast.training.documents import read_documents
from forecast.training.world import make_world


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    world = make_world(2, people=30)
    return world, write_world(world, tmp_path_factory.mktemp("demo"), tokens=15_000, items=60)


def test_corpus_has_enough_tokens_and_several_documents(written):
    _, files = written
    documents = list(read_documents(files.corpus))
    assert len(documents) >= 2
    assert sum(len(document.split()) for document in documents) >= 15_000
    assert all(document.endswith(" .") for document in documents)


def test_validation_text_is_other_text(written):
    _, files = written
    assert next(iter(read_documents(files.validation))) != next(iter(read_documents(files.corpus)))


def test_tokenizer_gives_one_token_per_word_and_knows_all_of_them(written):
    from transformers import AutoTokenizer

    _, files = written
    tokenizer = AutoTokenizer.from_pretrained(str(files.tokenizer))
    for document in read_documents(files.corpus):
        ids = tokenizer(document, add_special_tokens=False)["input_ids"]
        assert len(ids) == len(document.split())
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == document
    assert tokenizer.eos_token == "<|endoftext|>"


def test_task_is_ordinary_lm_eval_over_a_json_file(written):
    _, files = written
    task = yaml.safe_load((files.tasks / f"{TASK_NAME}.yaml").read_text(encoding="utf-8"))
    assert task["output_type"] == "multiple_choice"
    lines = Path(task["dataset_kwargs"]["data_files"]["test"]).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 60
    assert set(json.loads(lines[0])) == {"question", "choices", "gold"}
