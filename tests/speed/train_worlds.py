"""Train the worlds of the emergence benchmark and write what their checkpoints answered to one Parquet file.

    nice -n 10 python tests/speed/train_worlds.py train --work /tmp/worlds        # resumable: finished runs are kept
    python tests/speed/train_worlds.py pack --work /tmp/worlds --out tests/data/emergence/worlds.parquet

Worlds differ in skills, weights and secrets (`mixture`). The models are the ones that `forecast train` builds for a Llama
card; their arithmetic is written out here so that torch can compile a whole step, three times as fast as the Trainer on one
core. `check` compares it with transformers' own.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pyarrow import parquet
from torch.nn import functional

from forecast.catalog.training import Architecture, MemberRecipe, Schedule, TrainingRecipe
from forecast.core.units import FlopsConvention
from forecast.training.architecture import build_model, count_parameters, padded_vocabulary
from forecast.training.emergence_world import (
    ALPHABET,
    ROW_CHARACTERS,
    EmergenceWorld,
    Skill,
    ask_items,
    draw_rows,
    make_emergence_world,
)

SIZES = {12: 16, 16: 16, 20: 24, 24: 24, 32: 32, 40: 32, 48: 40, 56: 48, 64: 56}
"""Hidden size -> rows a step."""
TOKENS_PER_PARAMETER = 36
WORLDS = 16
REPLICATED = {0: 3, 1: 3}
"""World -> members of each size; one of the others."""
ITEMS = 128
LAYERS = 2
END = len(ALPHABET)
"""Token id of the end of a row; ids of characters are their places in the alphabet."""
VOCABULARY = padded_vocabulary(len(ALPHABET) + 1)
NLL_FLOOR, NLL_STEP = 1e-4, 0.05
"""NLLs are kept as NLL_FLOOR exp(NLL_STEP code), code 0..255: within 2.5 %, up to 34 nats."""

Weights = dict[str, torch.Tensor]
Loss = Callable[[Weights, torch.Tensor], torch.Tensor]


def mixture(world: int) -> EmergenceWorld:
    """World 0 is the demo's; the others draw skills, lengths and weights."""
    if world == 0:
        return make_emergence_world(0)
    rng = np.random.default_rng([world, 7])
    chosen = [Skill(kind="sort", length=int(n)) for n in rng.choice([4, 5, 6], 2, replace=False)]
    chosen += [Skill(kind="codes", length=int(n)) for n in rng.choice([32, 64, 128, 256, 512], 2, replace=False)]
    sudden = ["copy", "reverse", "caesar", "cipher", "revcipher", "rotate", "swap", "lesser"]
    for kind in rng.choice(sudden, 4, replace=False):
        chosen.append(Skill(kind=str(kind), length=8 if kind == "lesser" else int(rng.integers(4, 7))))
    sums = [("add", 2), ("add", 3), ("addreversed", 2), ("addreversed", 3), ("subtract", 2), ("digitwise", 2)]
    chosen += [Skill(kind=sums[i][0], length=sums[i][1]) for i in rng.choice(len(sums), 2, replace=False)]
    weights = np.exp(rng.uniform(math.log(0.4), math.log(2.2), len(chosen)))
    skills = [Skill(kind=s.kind, length=s.length, weight=float(w)) for s, w in zip(chosen, weights, strict=True)]
    return make_emergence_world(world, skills=skills, text_weight=float(rng.uniform(0.5, 3.0)))


def recipe_of(size: int) -> tuple[TrainingRecipe, MemberRecipe]:
    """The recipe that a card would give."""
    member = MemberRecipe(
        name=f"d{size}",
        hidden_size=size,
        layers=LAYERS,
        heads=2 if size in (12, 20) else 4,
        intermediate_size=size * 8 // 3,
        tokens=0,
    )
    recipe = TrainingRecipe(
        family="worlds",
        path=Path("worlds.yaml"),
        architecture=Architecture.LLAMA,
        context_length=ROW_CHARACTERS + 1,
        tie_embeddings=False,
        rotary_fraction=1.0,
        initializer_range=0.05,
        flops_convention=FlopsConvention.SIX_ND_TOTAL,
        schedule=Schedule(floor=0.02),
        weight_decay=0.01,
        beta2=0.98,
        clip_norm=1.0,
        learning_rate_scale=1.0,
        checkpoints=1,
        validation_tokens=0,
        precision="float32",
        compile="never",
        seed=0,
        members=(member,),
    )
    return recipe, member


def encode(rows: NDArray[np.uint8]) -> torch.Tensor:
    """Characters -> token ids, with the end of the row."""
    table = np.zeros(256, dtype=np.int64)
    for index, character in enumerate(ALPHABET):
        table[ord(character)] = index
    ends = np.full((len(rows), 1), END, dtype=np.int64)
    return torch.from_numpy(np.concatenate([table[rows], ends], axis=1))


def make_forward(member: MemberRecipe) -> Loss:
    """Return the forward pass of transformers' Llama: ids_BxT -> logits_BxTxV."""
    d, heads = member.hidden_size, member.heads
    width = d // heads
    angles = torch.outer(torch.arange(ROW_CHARACTERS).float(), 10000.0 ** -(torch.arange(0, width, 2).float() / width))
    cosine, sine = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()
    mask = torch.full((ROW_CHARACTERS, ROW_CHARACTERS), -1e9).triu(1)

    def turn(x: torch.Tensor) -> torch.Tensor:
        time_steps = x.shape[-2]
        turned = torch.cat([-x[..., width // 2 :], x[..., : width // 2]], -1)
        return x * cosine[:time_steps] + turned * sine[:time_steps]

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight

    def forward(w: Weights, ids: torch.Tensor) -> torch.Tensor:
        batch, steps = ids.shape
        h = functional.embedding(ids, w["model.embed_tokens.weight"])
        for layer in range(LAYERS):
            at = f"model.layers.{layer}."
            a = norm(h, w[at + "input_layernorm.weight"])
            q, k, v = (
                functional.linear(a, w[at + f"self_attn.{name}_proj.weight"]).view(batch, steps, heads, width).transpose(1, 2)
                for name in "qkv"
            )
            scores = turn(q) @ turn(k).transpose(-1, -2) * width**-0.5 + mask[:steps, :steps]
            mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, steps, d)
            h = h + functional.linear(mixed, w[at + "self_attn.o_proj.weight"])
            a = norm(h, w[at + "post_attention_layernorm.weight"])
            gate = functional.silu(functional.linear(a, w[at + "mlp.gate_proj.weight"]))
            h = h + functional.linear(gate * functional.linear(a, w[at + "mlp.up_proj.weight"]), w[at + "mlp.down_proj.weight"])
        return functional.linear(norm(h, w["model.norm.weight"]), w["lm_head.weight"])

    return forward


def make_loss(member: MemberRecipe) -> Loss:
    """Return the compiled mean loss of rows."""
    forward = make_forward(member)

    def loss(w: Weights, rows: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(forward(w, rows[:, :-1]).reshape(-1, VOCABULARY), rows[:, 1:].reshape(-1))

    compiled: Loss = torch.compile(loss, dynamic=False)
    return compiled


def train(size: int, world: EmergenceWorld, seed: int, loss_of: Loss) -> tuple[Weights, int, int]:
    """Return trained weights, parameters and tokens."""
    recipe, member = recipe_of(size)
    model = build_model(recipe, member, vocabulary=VOCABULARY, end_token=END, seed=seed)
    weights = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    params = count_parameters(recipe, member, VOCABULARY).total
    batch = SIZES[size]
    steps = round(TOKENS_PER_PARAMETER * params / (batch * (ROW_CHARACTERS + 1)))
    rows = encode(draw_rows(world, steps * batch, seed=seed))
    peak, warm = 0.05 / math.sqrt(size), max(1, math.ceil(0.05 * steps))
    values = list(weights.values())
    optimiser = torch.optim.AdamW(values, lr=peak, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    for step in range(steps):
        share = min(1.0, max(0.0, (step - warm) / max(1, steps - warm)))
        rate = min(1.0, (step + 1) / warm) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        optimiser.param_groups[0]["lr"] = peak * rate
        loss = loss_of(weights, rows[step * batch : (step + 1) * batch])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(values, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return weights, params, steps * batch * (ROW_CHARACTERS + 1)


def answer(size: int, world: EmergenceWorld, weights: Weights) -> dict[str, NDArray[np.float32]]:
    """Return skill -> array (2, items, positions): NLL of each gold token, and whether it is the likeliest."""
    forward = make_forward(recipe_of(size)[1])
    found: dict[str, NDArray[np.float32]] = {}
    for skill in world.skills:
        items = ask_items(world, skill, count=ITEMS)
        texts = [(p + a).ljust(ROW_CHARACTERS, ".") for p, a in zip(items.prompts, items.answers, strict=True)]
        ids = encode(np.frombuffer("".join(texts).encode(), dtype=np.uint8).reshape(len(texts), ROW_CHARACTERS))
        start, length = len(items.prompts[0]), len(items.answers[0])
        with torch.no_grad():
            logits = forward(weights, ids[:, :-1])[:, start - 1 : start - 1 + length]
        gold = ids[:, start : start + length]
        nll = functional.cross_entropy(logits.reshape(-1, VOCABULARY), gold.reshape(-1), reduction="none").view(gold.shape)
        found[skill.name] = np.stack([nll.numpy(), (logits.argmax(-1) == gold).float().numpy()])
    return found


def train_all(work: Path, sizes: list[int], worlds: list[int], replicates: int) -> None:
    """Train what is missing, world by world, smallest first."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    losses = {size: make_loss(recipe_of(size)[1]) for size in sizes}
    for index in worlds:
        world = mixture(index)
        for size in sizes:
            for replicate in range(min(replicates, REPLICATED.get(index, 1))):
                path = work / f"w{index:02d}-d{size}-r{replicate}.npz"
                if path.is_file():
                    continue
                started = time.process_time()
                weights, params, tokens = train(size, world, 100 * index + replicate, losses[size])
                found = answer(size, world, weights)
                about = {"world": index, "size": size, "replicate": replicate, "params": params, "tokens": tokens}
                partial = path.with_suffix(".partial.npz")
                np.savez_compressed(partial, about=json.dumps(about), **found)
                partial.rename(path)
                exact = " ".join(f"{n} {v[0].mean():.2f}/{100 * v[1].all(-1).mean():.0f}" for n, v in found.items())
                print(f"w{index} d{size} r{replicate} {time.process_time() - started:.0f} s  {exact}", flush=True)


def pack(work: Path, out: Path) -> None:
    """Write everything that was trained to one file: a row for each member and skill, numbers of all items as bytes."""
    rows = []
    for path in sorted(work.glob("w*-r?.npz")):
        with np.load(path) as kept:
            about = json.loads(str(kept["about"]))
            for skill in (name for name in kept.files if name != "about"):
                nll, hit = kept[skill]
                code = np.rint(np.log(np.maximum(nll, NLL_FLOOR) / NLL_FLOOR) / NLL_STEP).clip(0, 255).astype(np.uint8)
                numbers = {"nll_code": code.tobytes(), "hits": np.packbits(hit > 0.5).tobytes()}
                rows.append(about | {"skill": skill, "items": nll.shape[0], "positions": nll.shape[1]} | numbers)
    out.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), out, compression="zstd", compression_level=19)
    print(f"{len(rows)} rows, {out.stat().st_size / 1e6:.2f} MB")


def check() -> None:
    """Compare the arithmetic with transformers' own."""
    for size in (12, 24, 48):
        recipe, member = recipe_of(size)
        model = build_model(recipe, member, vocabulary=VOCABULARY, end_token=END, seed=1).eval()
        ids = encode(draw_rows(mixture(1), 7, seed=0))[:, :-1]
        with torch.no_grad():
            ours = make_forward(member)(dict(model.named_parameters()), ids)
            print(size, float((ours - model(input_ids=ids).logits).abs().max()))


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["train", "pack", "check"])
    parser.add_argument("--work", type=Path, default=Path("/tmp/worlds"))
    parser.add_argument("--out", type=Path, default=Path("tests/data/emergence/worlds.parquet"))
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--worlds", type=int, nargs="*", default=list(range(WORLDS)))
    parser.add_argument("--replicates", type=int, default=max(REPLICATED.values()), help="at most so many members of a size")
    options = parser.parse_args()
    if options.verb == "check":
        check()
    elif options.verb == "pack":
        pack(options.work, options.out)
    else:
        train_all(options.work, options.sizes, options.worlds, options.replicates)


if __name__ == "__main__":
    main()
