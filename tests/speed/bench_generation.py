"""CPU time of written answers against lm-eval's `hf`, behind a five-shot header: one greedy answer, and 16 draws.

Run by hand: `python tests/speed/bench_generation.py TOKENIZER_FOLDER`. Random weights; ratios hold for one run on one machine.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from forecast.scoring.checkpoint_loading import LoadedCheckpoint, load_checkpoint
from forecast.scoring.decoding import Decoding
from forecast.scoring.generation import plan_prompts, write_answers
from forecast.scoring.requests import GenerationRequest

WORDS = [
    "the",
    "model",
    "answers",
    "a",
    "question",
    "about",
    "seven",
    "rivers",
    "in",
    "bright",
    "light",
    "because",
    "many",
    "people",
    "think",
    "slowly",
    "of",
    "green",
    "houses",
]
NEW, UNTIL, ITEMS = 32, ("\n\n",), 32


def make_checkpoint(folder: Path, tokenizer: Path) -> LoadedCheckpoint:
    torch.manual_seed(0)
    config = transformers.GPTNeoXConfig(
        hidden_size=512,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=2048,
        vocab_size=50304,
        initializer_range=0.06,
        bos_token_id=0,
        eos_token_id=0,
    )
    transformers.GPTNeoXForCausalLM(config).save_pretrained(folder)
    own = transformers.AutoTokenizer.from_pretrained(tokenizer)
    own.eos_token = own.bos_token = own.pad_token = "<|endoftext|>"
    own.save_pretrained(folder)
    return load_checkpoint(folder, dtype="float32", device="cpu")


def make_prompts(seed: int = 0) -> list[str]:
    draw = random.Random(seed)

    def text(n: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(n))

    header = "\n\n".join(f"Question: {text(30)}\nAnswer: {text(60)}" for _ in range(5))
    return [f"{header}\n\nQuestion: {text(30)}\nAnswer:" for _ in range(ITEMS)]


def ours(checkpoint: LoadedCheckpoint, prompts: list[str], samples: int, temperature: float) -> tuple[float, dict[int, str]]:
    kind = Decoding(until=UNTIL, max_new_tokens=NEW, samples=samples, temperature=temperature)
    requests = [GenerationRequest(item_idx=i, context=text, kwargs={}) for i, text in enumerate(prompts)]
    started, texts = time.process_time(), {}
    plan = plan_prompts(checkpoint, requests, [kind] * len(requests))
    for part in write_answers(checkpoint, plan, wanted=range(len(plan)), on_notice=print, name_item=str):
        texts |= {answer.prompt: answer.text for answer in part.answers}
    return time.process_time() - started, texts


def lm_evals(
    checkpoint: LoadedCheckpoint, prompts: list[str], size: int, repeats: int, kwargs: dict[str, object]
) -> tuple[float, list[str]]:
    backend = HFLM(pretrained=checkpoint.model, tokenizer=checkpoint.tokenizer, batch_size=size)
    settings = {"until": list(UNTIL), "max_gen_toks": NEW, **kwargs}
    made = [
        Instance(request_type="generate_until", doc={}, arguments=(text, dict(settings)), idx=0, metadata=("t", i, 1))
        for i, text in enumerate(prompts)
        for _ in range(repeats)
    ]
    started = time.process_time()
    found = backend.generate_until(made, disable_tqdm=True)
    return time.process_time() - started, found


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_checkpoint(Path(folder), Path(sys.argv[1]))
    prompts = make_prompts()
    own, texts = ours(checkpoint, prompts, 1, 0.0)
    for size in (1, 4, 8, 16):
        other, found = lm_evals(checkpoint, prompts, size, 1, {})
        equal = sum(text == texts[i] for i, text in enumerate(found))
        print(f"greedy: {own:.1f} s, lm-eval at batch {size}: {other:.1f} s, {other / own:.1f} times; {equal} of {ITEMS} equal")
    own, _ = ours(checkpoint, prompts, 16, 1.0)
    few = prompts[:4]
    other, _ = lm_evals(checkpoint, few, 16, 16, {"do_sample": True, "temperature": 1.0})
    other *= len(prompts) / len(few)
    print(f"16 draws: {own:.1f} s, lm-eval at batch 16: {other:.1f} s (of {len(few)} items, scaled), {other / own:.1f} times")


if __name__ == "__main__":
    main()
