"""A corpus and a card so small that a whole training takes a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from forecast.catalog.training import read_recipe
from forecast.training.architecture import padded_vocabulary
from forecast.training.demo_files import write_world
from forecast.training.plan import plan_member
from forecast.training.settings import MemberInputs, TrainingSettings
from forecast.training.token_cache import build_cache
from forecast.training.world import make_world

CARD = """\
family: tiny
title: Tiny
training:
  architecture: {architecture}
  context_length: 32
  rotary_fraction: 1.0
  schedule: {schedule}
  checkpoints: 3
  members:
    - {{name: tiny-a, hidden_size: 16, layers: 1, heads: 2, tokens: 5120, batch_tokens: 128, learning_rate: {rate}{extra}}}
"""


class TinyFamily:
    """Inputs on disk, and plans made from a card over them."""

    def __init__(self, root: Path) -> None:
        self.files = write_world(make_world(4, people=20), root, tokens=8_000, items=20)
        build = {"end_token": "<|endoftext|>"}
        self.train = build_cache(self.files.corpus, self.files.tokenizer, root / "tokens", **build)
        self.validation = build_cache(self.files.validation, self.files.tokenizer, root / "tokens", **build)

    def write_card(self, folder: Path, *, architecture="gpt_neox", schedule="{kind: cosine}", extra="", rate=0.01) -> Path:
        path = folder / "tiny.yaml"
        path.write_text(CARD.format(architecture=architecture, schedule=schedule, extra=extra, rate=rate), encoding="utf-8")
        return path

    def plan(self, folder: Path, seed: int = 0, **card):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.files.tokenizer / "tokenizer.json"))
        recipe = read_recipe(self.write_card(folder, **card))
        rows = padded_vocabulary(tokenizer.get_vocab_size())
        return plan_member(recipe, recipe.members[0], vocabulary=rows, end_token=0, seed=seed, data_hash=self.train.data_hash)

    def inputs(self, folder: Path) -> MemberInputs:
        return MemberInputs(train=self.train, validation=self.validation, tokenizer=self.files.tokenizer, folder=folder)


def settings(plan, *, micro: int = 4, state_every_seconds: float = 1e9) -> TrainingSettings:
    return TrainingSettings(
        use_cuda=False,
        bfloat16=False,
        compile=False,
        threads=1,
        micro_sequences=micro,
        accumulation=plan.batch_sequences // micro,
        state_every_seconds=state_every_seconds,
        log_every_steps=1,
        peak_flops_per_second=1e10,
        validation_sequences=16,
    )


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory) -> TinyFamily:
    return TinyFamily(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(name="settings_of")
def settings_fixture():
    return settings
