"""A corpus is tokenised once, the same way by one process or several."""

from __future__ import annotations

import numpy as np
import pytest

from forecast.core.errors import InputError
from forecast.training.demo_files import write_world
from forecast.training.documents import read_documents
from forecast.training.packed_sequences import PackedSequences
from forecast.training.token_cache import build_cache
from forecast.training.world import make_world

END = "<|endoftext|>"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_world(make_world(3, people=20), tmp_path_factory.mktemp("demo"), tokens=20_000, items=20)


@pytest.fixture(scope="module")
def cache(files, tmp_path_factory):
    return build_cache(files.corpus, files.tokenizer, tmp_path_factory.mktemp("cache"), end_token=END)


def test_array_is_documents_each_with_its_end(files, cache):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(files.tokenizer / "tokenizer.json"))
    expected = [i for text in read_documents(files.corpus) for i in [*tokenizer.encode(text).ids, tokenizer.token_to_id(END)]]
    assert cache.open().tolist() == expected
    assert cache.complete
    assert cache.dtype == "uint16"


def test_second_time_reads_nothing(files, cache):
    before = cache.path.stat().st_mtime_ns
    again = build_cache(files.corpus, files.tokenizer, cache.path.parent, end_token=END)
    assert again == cache
    assert again.path.stat().st_mtime_ns == before


def test_truncated_array_is_made_anew(files, tmp_path):
    first = build_cache(files.corpus, files.tokenizer, tmp_path, end_token=END)
    content = first.path.read_bytes()
    first.path.write_bytes(content[:100])
    build_cache(files.corpus, files.tokenizer, tmp_path, end_token=END)
    assert first.path.read_bytes() == content


def test_reading_stops_when_there_is_enough(files, cache, tmp_path):
    part = build_cache(files.corpus, files.tokenizer, tmp_path, end_token=END, needed_tokens=100)
    assert not part.complete
    assert part.n_documents == 1
    assert part.data_hash != cache.data_hash
    assert np.array_equal(part.open(), cache.open()[: part.n_tokens])


def test_several_processes_give_the_same_array(files, cache, tmp_path, monkeypatch):
    monkeypatch.setattr("forecast.training.token_cache._BATCH_BYTES", 5_000)
    several = build_cache(files.corpus, files.tokenizer, tmp_path, end_token=END, jobs=2)
    assert np.array_equal(several.open(), cache.open())


@pytest.mark.parametrize("text", ["", "\n\n", f" \n{END}\n{END}\n"])
def test_a_corpus_without_text_is_refused_and_leaves_nothing(files, tmp_path, text):
    corpus = tmp_path / "empty.txt"
    corpus.write_text(text)
    for _ in range(2):
        with pytest.raises(InputError, match=r"empty\.txt holds no text"):
            build_cache(corpus, files.tokenizer, tmp_path / "cache", end_token=END, needed_tokens=100)
    assert list((tmp_path / "cache").iterdir()) == []


def test_missing_tokenizer_and_unknown_end_token(files, tmp_path):
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        build_cache(files.corpus, tmp_path, tmp_path, end_token=END)
    with pytest.raises(InputError, match="no token '</s>'"):
        build_cache(files.corpus, files.tokenizer, tmp_path, end_token="</s>")


def test_samples_are_a_fixed_permutation_per_pass(cache):
    per_pass = cache.n_tokens // 64
    data = PackedSequences(cache, context_length=64, samples=2 * per_pass, seed=1)
    longer = PackedSequences(cache, context_length=64, samples=3 * per_pass, seed=1)
    first = [tuple(data[i]["input_ids"].tolist()) for i in range(per_pass)]
    second = [tuple(data[i]["input_ids"].tolist()) for i in range(per_pass, 2 * per_pass)]
    assert sorted(first) == sorted(second)
    assert first != second
    # A member with another budget sees the same beginning, in whatever order it is asked.
    assert tuple(longer[per_pass + 3]["input_ids"].tolist()) == second[3]
    assert tuple(longer[5]["input_ids"].tolist()) == first[5]


def test_corpus_that_is_far_too_small_is_refused(cache):
    with pytest.raises(InputError, match=r"documents with \d+ tokens; expected at least"):
        PackedSequences(cache, context_length=64, samples=65 * (cache.n_tokens // 64), seed=1)
    with pytest.raises(InputError, match="expected at least"):
        PackedSequences(cache, context_length=10**7, samples=1, seed=1)
