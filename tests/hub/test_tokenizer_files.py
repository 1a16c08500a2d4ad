"""Siblings' tokenizers are compared by what they do, not by how their files are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forecast.core.errors import CheckpointError
from forecast.hub.tokenizer_files import tokenizer_behaviour

ALPHABET = {chr(code): code - 33 for code in range(33, 127)} | {"\u0120": 94, "\u010a": 95, "ab": 96, "the": 97, "th": 98}


@pytest.fixture
def write(tmp_path: Path):
    def write_tokenizer(name: str, **changes: object) -> Path:
        content = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                token(99, "<|end|>", special=True),
                token(100, "    ", special=False),
            ],
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
            "model": model(),
        }
        folder = tmp_path / name
        folder.mkdir()
        (folder / "tokenizer.json").write_text(json.dumps({**content, **changes}))
        return folder

    return write_tokenizer


def token(number: int, content: str, *, special: bool) -> dict[str, object]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": number, "content": content, "special": special, **flags}


def model(**changes: object) -> dict[str, object]:
    defaults = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "vocab": ALPHABET,
        "merges": ["a b", "t h", "th e"],
    }
    return {**defaults, **changes}


def test_what_changes_no_token_changes_nothing(write) -> None:
    reference = tokenizer_behaviour(write("reference"))
    same = {
        "truncation": {"truncation": {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}},
        "written-anew": {
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "model": model(merges=[["a", "b"], ["t", "h"], ["th", "e"]], byte_fallback=False, ignore_merges=False),
        },
        "more-special-tokens": {
            "added_tokens": [
                token(99, "<|end|>", special=True),
                token(100, "    ", special=False),
                token(101, "<|pad|>", special=True),
            ]
        },
    }
    for name, changes in same.items():
        assert tokenizer_behaviour(write(name, **changes)) == reference, name


def test_what_changes_tokens_is_seen(write) -> None:
    reference = tokenizer_behaviour(write("reference"))
    other = {
        "a-merge-less": {"model": model(merges=["a b", "t h"])},
        "another-vocabulary": {"model": model(vocab={**ALPHABET, "th": 97, "the": 98})},
        "another-split": {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}},
        "no-normalisation": {"normalizer": {"type": "Lowercase"}},
        "no-blank-token": {"added_tokens": [token(99, "<|end|>", special=True)]},
    }
    found = {name: tokenizer_behaviour(write(name, **changes)) for name, changes in other.items()}
    assert reference not in found.values()
    assert len(set(found.values())) == len(found)


def test_the_real_tokenizer_agrees_with_itself_written_anew(data_folder: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    original = data_folder / "tokenizers" / "gpt-neox-20b"
    Tokenizer.from_file(str(original / "tokenizer.json")).save(str(tmp_path / "tokenizer.json"))
    assert tokenizer_behaviour(tmp_path) == tokenizer_behaviour(original)


def test_folders_without_or_with_a_broken_tokenizer(tmp_path: Path) -> None:
    assert tokenizer_behaviour(tmp_path) is None
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    slow = tokenizer_behaviour(tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nc\n")
    assert slow != tokenizer_behaviour(tmp_path)
    for broken in ("{", "[]", "{}", '{"model": {"type": "BPE", "vocab": {}, "merges": []}, "pre_tokenizer": {"type": "Odd"}}'):
        (tmp_path / "tokenizer.json").write_text(broken)
        with pytest.raises(CheckpointError, match="is not a tokenizer"):
            tokenizer_behaviour(tmp_path)
