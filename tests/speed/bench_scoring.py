"""CPU time of scoring, this engine against lm-eval's `hf` backend, in one process and on the same items. Run by hand:

    python tests/speed/bench_scoring.py ratios --data DATA          # the table of docs/speed.md
    python tests/speed/bench_scoring.py sweep --data DATA           # 20 checkpoints, whole processes
    python tests/speed/bench_scoring.py memory --data DATA          # peak memory of MMLU 5-shot
    python tests/speed/bench_scoring.py drift --data DATA           # how far the batch budget moves a number

DATA is the folder of FORECAST_TEST_DATA: `benchmarks/` (a mirror of hub data sets) and `tokenizers/gpt-neox-20b/`.

Models have Pythia's shapes and random weights. lm-eval runs at its best batch size of those tried. Its time grows in proportion
to the questions, so it is measured on fewer of them and compared per question; ours is measured on all, since sharing a
prefix pays more the more questions share it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from lm_eval.models.huggingface import HFLM

from forecast.scoring.checkpoint_loading import LoadedCheckpoint
from forecast.scoring.cpu_products import linear
from forecast.scoring.engine import ScoringOptions, score_plan
from forecast.scoring.flops import forward_cost
from forecast.scoring.plan import make_plan
from forecast.scoring.requests import TextRequest
from forecast.scoring.tokenization import Encoder

SHAPES = {"14m": (6, 128, 4), "70m": (6, 512, 8), "160m": (12, 768, 12)}
"""Layers, width, heads: https://huggingface.co/EleutherAI/pythia-160m and siblings, config.json."""
SETTINGS = {
    "0-shot": (0, False),
    "5-shot different": (5, False),
    "5-shot fixed": (5, True),
    "25-shot different": (25, False),
    "25-shot fixed": (25, True),
}
THEIR_ITEMS = {
    ("14m", 0): 64,
    ("14m", 5): 16,
    ("14m", 25): 4,
    ("70m", 0): 48,
    ("70m", 5): 8,
    ("70m", 25): 3,
    ("160m", 0): 24,
    ("160m", 5): 6,
    ("160m", 25): 2,
}
OUR_ITEMS = {("14m", 0): 400, ("14m", 5): 200, ("14m", 25): 100, ("70m", 0): 200, ("70m", 5): 100, ("70m", 25): 40} | {
    ("160m", 0): 100,
    ("160m", 5): 40,
    ("160m", 25): 12,
}
FIXED_ITEMS = 200
"""Questions behind one fixed prefix, whatever the shape."""
BATCH_SIZES = (1, 4, 16)


@dataclass(frozen=True, kw_only=True)
class Measured:
    shape: str
    setting: str
    theirs_per_item: float
    ours_per_item: float
    batch_size: int
    over_bound: float
    """At the rate of the engine's own product."""
    over_bound_mm: float
    """At the rate of torch.mm, which lm-eval's products run at."""
    largest_difference: float
    same_choice: bool


def make_model(shape: str) -> transformers.PreTrainedModel:
    layers, width, heads = SHAPES[shape]
    torch.manual_seed(0)
    config = transformers.GPTNeoXConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        vocab_size=50304,
        max_position_embeddings=2048,
        rotary_pct=0.25,
    )
    return transformers.GPTNeoXForCausalLM(config).eval().requires_grad_(False)


def make_tokenizer(data: Path) -> transformers.PreTrainedTokenizerFast:
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(data / "tokenizers/gpt-neox-20b/tokenizer.json"),
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
    )


def read_items(data: Path, split: str) -> list[dict]:
    with gzip.open(data / f"benchmarks/allenai/ai2_arc/ARC-Easy/{split}.jsonl.gz", "rt") as handle:
        return [json.loads(line) for line in handle]


def make_requests(data: Path, n_items: int, shots: int, fixed: bool) -> list[TextRequest]:
    rng = random.Random(1)
    questions = rng.sample(read_items(data, "test"), n_items)
    pool = read_items(data, "train")
    once = rng.sample(pool, shots)
    requests = []
    for i, item in enumerate(questions):
        examples = once if fixed else rng.sample(pool, shots)
        context = "".join(f"{ask(example)} {answer(example)}\n\n" for example in examples) + ask(item)
        requests += [
            TextRequest(item_idx=i, choice_idx=j, context=context, continuation=f" {choice}")
            for j, choice in enumerate(item["choices"]["text"])
        ]
    return requests


def ask(item: dict) -> str:
    return f"Question: {item['question']}\nAnswer:"


def answer(item: dict) -> str:
    return item["choices"]["text"][item["choices"]["label"].index(item["answerKey"])]


def measure(shape: str, setting: str, data: Path, model: transformers.PreTrainedModel) -> Measured:
    tokenizer = make_tokenizer(data)
    shots, fixed = SETTINGS[setting]
    n_ours = FIXED_ITEMS if fixed else OUR_ITEMS[shape, shots]
    requests = make_requests(data, n_ours, shots, fixed)
    n_theirs = THEIR_ITEMS[shape, shots]
    few = [request for request in requests if request.item_idx < n_theirs]
    trunk = sum(parameter.numel() for parameter in model.gpt_neox.layers.parameters())
    checkpoint = LoadedCheckpoint(
        model=model,
        tokenizer=tokenizer,
        max_length=2048,
        params=0,
        params_non_embedding=trunk,
        architecture="gpt_neox",
        device="cpu",
    )
    encoded = Encoder(tokenizer, max_length=2048).encode_requests(requests)
    ours = np.zeros(len(requests))
    seconds = []
    for _ in range(1 if shape == "160m" else 2):
        started = time.process_time()
        plan = make_plan(encoded)
        for done in score_plan(checkpoint, plan, ScoringOptions(), on_notice=sys.exit, name_request=str):
            ours[done.request] = done.loglikelihood
        seconds.append(time.process_time() - started)
    bound = forward_cost(model, trunk).bound(plan.tree)
    over_bound = min(seconds) * cpu_product_rate(lambda left, right: linear(left, right, None)) / bound
    over_bound_mm = min(seconds) * cpu_product_rate(torch.mm) / bound
    prepared = [
        (
            (request.context, request.continuation),
            [int(token) for token in one.inputs[: len(one.inputs) + 1 - len(one.targets)]],
            list(one.targets),
        )
        for request, one in zip(few, encoded, strict=False)
    ]
    theirs_at: dict[int, float] = {}
    for size in BATCH_SIZES:
        backend = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size)
        started = time.process_time()
        results = backend._loglikelihood_tokens(prepared, disable_tqdm=True)
        theirs_at[size] = (time.process_time() - started) / n_theirs
    best = min(theirs_at, key=theirs_at.__getitem__)
    theirs = np.array([value for value, _ in results])
    items = np.array([request.item_idx for request in few])
    same = all(np.argmax(theirs[items == i]) == np.argmax(ours[: len(few)][items == i]) for i in range(n_theirs))
    return Measured(
        shape=shape,
        setting=setting,
        theirs_per_item=theirs_at[best],
        ours_per_item=min(seconds) / n_ours,
        batch_size=best,
        over_bound=over_bound,
        over_bound_mm=over_bound_mm,
        largest_difference=float(np.abs(theirs - ours[: len(few)]).max()),
        same_choice=same,
    )


def cpu_product_rate(product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
    """FLOP per second of CPU time (other programs may share the machine) of a float32 product."""
    left = torch.ones((1024, 1024))
    best = float("inf")
    for _ in range(10):
        started = time.process_time()
        product(left, left)
        best = min(best, time.process_time() - started)
    return 2 * 1024**3 / best


def ratios(data: Path, shapes: list[str]) -> None:
    ours, theirs = cpu_product_rate(lambda left, right: linear(left, right, None)), cpu_product_rate(torch.mm)
    print(f"rate of the engine's product {ours / 1e9:.0f} GFLOP/s, of torch.mm {theirs / 1e9:.0f}\n")
    print(
        "| shape | prompts | lm-eval ms/question (batch) | ours ms/question | ratio | times the FLOP bound (torch.mm's rate) "
        "| largest difference | same choice |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for shape in shapes:
        model = make_model(shape)
        for setting in SETTINGS:
            m = measure(shape, setting, data, model)
            print(
                f"| {shape} | {setting} | {1000 * m.theirs_per_item:.0f} ({m.batch_size}) | {1000 * m.ours_per_item:.1f} | "
                f"{m.theirs_per_item / m.ours_per_item:.1f} | {m.over_bound:.2f} ({m.over_bound_mm:.2f}) | "
                f"{m.largest_difference:.1e} | {m.same_choice} |",
                flush=True,
            )


def sweep(data: Path, shapes: list[str]) -> None:
    """Whole processes: one `forecast eval` over 20 checkpoints against `lm_eval` once per checkpoint (two, scaled)."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        n_checkpoints, n_theirs, limit = 20, 2, 200
        folders = []
        for i in range(n_checkpoints):
            model = make_model(shapes[0])
            model.gpt_neox.embed_in.weight.add_(0.01 * i)
            folders.append(root / "checkpoints" / f"step{i}")
            model.save_pretrained(folders[-1])
            make_tokenizer(data).save_pretrained(folders[-1])
        source = data / "benchmarks/allenai/ai2_arc/ARC-Easy/test.jsonl.gz"
        (root / "tasks").mkdir()
        (root / "tasks/arc.yaml").write_text(
            "task: bench_arc\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: " + str(source.resolve()) + "\n"
            'output_type: multiple_choice\ntest_split: test\ndoc_to_text: "Question: {{question}}\\nAnswer:"\n'
            'doc_to_target: "{{choices.label.index(answerKey)}}"\ndoc_to_choice: "{{choices.text}}"\n'
            "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
        )
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(root / "cache")}
        ours = [
            str(Path(sys.executable).parent / "forecast"),
            "eval",
            "--tasks",
            "bench_arc",
            "--include-path",
            str(root / "tasks"),
        ]
        ours += ["--limit", str(limit), "--db", str(root / "x.duckdb"), "-q"]
        for folder in folders:
            ours += ["--model", str(folder)]
        our_cpu, our_wall = timed(ours, environment)
        their_cpu, their_wall = 0.0, 0.0
        for folder in folders[:n_theirs]:
            theirs = [
                sys.executable,
                "-m",
                "lm_eval",
                "run",
                "--model",
                "hf",
                "--model_args",
                f"pretrained={folder},dtype=float32",
            ]
            theirs += ["--tasks", "bench_arc", "--include_path", str(root / "tasks"), "--limit", str(limit), "--device", "cpu"]
            cpu, wall = timed([*theirs, "--batch_size", "16"], environment)
            their_cpu, their_wall = their_cpu + cpu / n_theirs, their_wall + wall / n_theirs
        print(
            f"{shapes[0]}, {limit} questions, {n_checkpoints} checkpoints: ours {our_cpu:.0f} s CPU, "
            f"{our_wall:.0f} s wall; lm-eval {their_cpu:.0f} s CPU, {their_wall:.0f} s wall each; "
            f"ratio {n_checkpoints * their_cpu / our_cpu:.1f} in CPU, "
            f"{n_checkpoints * their_wall / our_wall:.1f} in wall time"
        )


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - started


def memory(data: Path, shapes: list[str], subjects: int = 57) -> None:
    """Peak memory of this process beyond the weights, MMLU 5-shot of many subjects."""
    from forecast.core.progress import SilentProgress
    from forecast.evaluation.tasks import RenderingSettings, write_out_tasks
    from forecast.scoring.task_source import find_tasks

    mirror = data / "benchmarks"
    found = find_tasks(["mmlu"], include_path=None, data_dir=mirror, on_notice=print)
    settings = RenderingSettings(
        num_fewshot=5, limit=None, fewshot_seed=1234, skip_empty=False, data_dir=mirror, trust_code=False
    )
    rendered = write_out_tasks(found[:subjects], settings, SilentProgress())
    requests = [request for one in rendered for request in one.requests]
    model = make_model(shapes[0])
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    trunk = sum(parameter.numel() for parameter in model.gpt_neox.layers.parameters())
    tokenizer = make_tokenizer(data)
    started = time.process_time()
    encoded = Encoder(tokenizer, max_length=2048).encode_requests(requests)
    planned = time.process_time()
    plan = make_plan(encoded)
    checkpoint = LoadedCheckpoint(
        model=model,
        tokenizer=tokenizer,
        max_length=2048,
        params=0,
        params_non_embedding=trunk,
        architecture="gpt_neox",
        device="cpu",
    )
    print(f"tokenised in {planned - started:.0f} s CPU, planned in {time.process_time() - planned:.0f} s CPU", flush=True)
    begun = time.process_time()
    for _ in score_plan(checkpoint, plan, ScoringOptions(), on_notice=sys.exit, name_request=str):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{shapes[0]}, {len(rendered)} subjects, {len(requests)} requests, {plan.tokens_requested:,} tokens requested, "
        f"{plan.tokens_unique:,} unique; scored in {time.process_time() - begun:.0f} s CPU; "
        f"peak {peak / 2**30:.2f} GiB, weights {weights / 2**30:.2f} GiB"
    )


def drift(data: Path, shapes: list[str]) -> None:
    """Largest change of one request's loglikelihood between batch budgets."""
    tokenizer, model = make_tokenizer(data), make_model(shapes[0])
    requests = make_requests(data, 100, 5, False)
    plan = make_plan(Encoder(tokenizer, max_length=2048).encode_requests(requests))
    checkpoint = LoadedCheckpoint(
        model=model,
        tokenizer=tokenizer,
        max_length=2048,
        params=0,
        params_non_embedding=1,
        architecture="gpt_neox",
        device="cpu",
    )
    found = {}
    for budget in (256, 1024, 2048, 8192):
        values = np.zeros(len(requests))
        options = ScoringOptions(token_budget=budget)
        for done in score_plan(checkpoint, plan, options, on_notice=sys.exit, name_request=str):
            values[done.request] = done.loglikelihood
        found[budget] = values
    for budget, values in found.items():
        difference = np.abs(values - found[2048]).max()
        print(f"{shapes[0]}, budget {budget}: largest difference from budget 2048 is {difference:.1e} nats")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ratios", "sweep", "memory", "drift"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--shapes", default="14m,70m,160m")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    {"ratios": ratios, "sweep": sweep, "memory": memory, "drift": drift}[arguments.what](
        arguments.data, arguments.shapes.split(",")
    )


if __name__ == "__main__":
    main()
