"""How quickly a command starts, run by hand: `python tests/speed/bench_startup.py --data DATA [--repeats 3]`.

CPU time (user and system, all threads) of whole commands on a tiny model and five questions of ARC-Easy, in processes of their
own, as ratios to lm-eval's own command in the same run; the median of some repeats. DATA is a folder with `benchmarks/`, a
mirror of hub data sets. The first line of ours pays for what the later ones find in the user's cache.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

GOALS = {"nothing new to score": 3.0, "forecast --help": 0.5, 'forecast sql "select 1"': 0.7}
"""Seconds of CPU time."""


def make_checkpoint(folder: Path) -> None:
    """Write a model of one layer and a tokenizer of bytes."""
    import tokenizers
    import torch
    import transformers

    torch.manual_seed(0)
    bytes_only = tokenizers.Tokenizer(tokenizers.models.BPE())
    bytes_only.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=257, special_tokens=["<|endoftext|>"], initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()
    )
    bytes_only.train_from_iterator(["a"], trainer)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=bytes_only, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    ).save_pretrained(folder)
    config = transformers.GPTNeoXConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        vocab_size=257,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=0,
    )
    transformers.GPTNeoXForCausalLM(config).save_pretrained(folder)


def write_definition(folder: Path, mirror: Path) -> None:
    """Write ARC-Easy on the mirror's files for lm-eval, which has no option for a mirror."""
    import lm_eval.tasks

    files = {split: str(mirror / f"allenai/ai2_arc/ARC-Easy/{split}.jsonl.gz") for split in ("train", "validation", "test")}
    folder.mkdir()
    definition = {
        "include": str(Path(lm_eval.tasks.__file__).parent / "arc" / "arc_easy.yaml"),
        "task": "arc_easy_here",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
    }
    (folder / "arc_easy_here.yaml").write_text(json.dumps(definition))


def cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    """Run a command and return its CPU time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print one line a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    mirror = options.data.resolve() / "benchmarks"
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_checkpoint(root / "model")
        write_definition(root / "tasks", mirror)
        environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(root / "cache"),
            "HF_HOME": str(root / "hub"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        forecast = [sys.executable, "-m", "forecast"]
        evaluate = [*forecast, "eval", "--model", str(root / "model"), "--tasks", "arc_easy", "--limit", "5"]
        evaluate += ["--data-dir", str(mirror), "--db"]
        theirs = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={root / 'model'}"]
        theirs += ["--tasks", "arc_easy_here", "--include_path", str(root / "tasks"), "--limit", "5", "--device", "cpu"]

        def ours(db: str, *, forget: bool = False) -> float:
            if forget:
                shutil.rmtree(root / "cache", ignore_errors=True)
            return cpu_seconds([*evaluate, str(root / db)], environment)

        print(f"load before: {os.getloadavg()[0]:.1f}; CPU seconds, median of {options.repeats}")
        yardstick = statistics.median(cpu_seconds(theirs, environment) for _ in range(options.repeats))
        print(f"{'lm_eval run, 5 questions':42} {yardstick:6.2f}")
        measured = {
            "one stock task, for the first time": [ours(f"first{i}.duckdb", forget=True) for i in range(options.repeats)],
            "one stock task": [ours(f"again{i}.duckdb") for i in range(options.repeats)],
            "nothing new to score": [ours("again0.duckdb") for _ in range(options.repeats)],
            "forecast --help": [cpu_seconds([*forecast, "--help"], environment) for _ in range(options.repeats)],
            'forecast sql "select 1"': [
                cpu_seconds([*forecast, "sql", "select 1", "--db", str(root / "again0.duckdb")], environment)
                for _ in range(options.repeats)
            ],
        }
        for what, seconds in measured.items():
            median = statistics.median(seconds)
            goal = f"goal {GOALS[what]:.1f} s" if what in GOALS else f"goal {yardstick / 2:.1f} s (half of lm-eval's)"
            print(f"{what:42} {median:6.2f}  {yardstick / median:5.1f} times less than lm-eval; {goal}")


if __name__ == "__main__":
    main()
