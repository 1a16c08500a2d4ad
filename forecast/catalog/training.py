"""The `training:` block of a family card, validated into a recipe: what to train, on how much, and how.

Every mistake is reported with the card's file, line and field. docs/our-ladder.md documents the fields.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from forecast.catalog.located import Field, read_located
from forecast.core.scale import TOKENS
from forecast.core.units import FlopsConvention


class Architecture(StrEnum):
    """Which transformer is trained; both as transformers implements them."""

    GPT_NEOX = "gpt_neox"
    """Pythia's: parallel residual, LayerNorm, rotary positions, GELU."""
    LLAMA = "llama"
    """RMSNorm, rotary positions, gated SiLU."""


class ScheduleKind(StrEnum):
    """How the learning rate moves after its warm-up."""

    COSINE = "cosine"
    WSD = "wsd"
    """Constant, then a linear decay: one run serves several budgets, with a decayed branch at each."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate over its peak. All shares are of the optimiser's steps."""

    kind: ScheduleKind = ScheduleKind.COSINE
    warmup: float = 0.05
    """Share of the steps spent rising linearly from 0."""
    floor: float = 0.0
    """Learning rate over its peak at the last step."""
    decay: float = 0.2
    """WSD only: share of a branch's steps spent decaying."""


@dataclass(frozen=True, kw_only=True)
class MemberRecipe:
    """One size of the family."""

    name: str
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    tokens: int
    """Training tokens of the longest run."""
    branches: tuple[int, ...] = ()
    """WSD only: smaller token budgets at which a decayed branch ends, rising."""
    learning_rate: float | None = None
    """Peak; None: DeepSeek's law."""
    batch_tokens: int | None = None
    """Tokens per optimiser step; None: DeepSeek's law."""
    line: int = 0
    """Line of the card."""


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """How a family is trained; every member sees the same data in the same order."""

    family: str
    path: Path
    architecture: Architecture
    context_length: int
    """Tokens per sequence; documents are packed."""
    tie_embeddings: bool
    rotary_fraction: float
    """Share of each head's dimensions that carry rotary positions (GPT-NeoX)."""
    initializer_range: float
    """Standard deviation of the initial weights."""
    flops_convention: FlopsConvention
    schedule: Schedule
    weight_decay: float
    beta2: float
    clip_norm: float
    learning_rate_scale: float
    """Multiplies every member's peak."""
    checkpoints: int
    """Log-spaced checkpoints kept of each run, the last one included."""
    validation_tokens: int
    """Tokens of the validation text that the loss is taken over."""
    precision: str
    """auto, float32 or bfloat16."""
    compile: str
    """auto, always or never."""
    seed: int
    members: tuple[MemberRecipe, ...]


_RECIPE_FIELDS = (
    "context_length",
    "tie_embeddings",
    "rotary_fraction",
    "initializer_range",
    "schedule",
    "weight_decay",
    "beta2",
    "clip_norm",
    "learning_rate_scale",
    "checkpoints",
    "validation_tokens",
    "precision",
    "compile",
    "seed",
)


def read_recipe(path: Path) -> TrainingRecipe:
    """Read the `training:` block of the family card at `path`.

    Raises:
        InputError: naming file, line and field.
    """
    root = read_located(path)
    if not isinstance(root.value, dict) or "training" not in root.value:
        raise root.error(
            "lacks 'training'", expected="a family that is trained here", remedy="published families are scored, not trained"
        )
    convention = FlopsConvention.SIX_ND_TOTAL
    if "flops_convention" in root.value:
        trained_here = (FlopsConvention.SIX_ND_TOTAL, FlopsConvention.SIX_ND_NON_EMBEDDING, FlopsConvention.DEEPSEEK_MD)
        convention = FlopsConvention(root.value["flops_convention"].one_of([entry.value for entry in trained_here]))
    block = root.value["training"].entries(required=("architecture", "members"), optional=_RECIPE_FIELDS)
    architecture = Architecture(block["architecture"].one_of([entry.value for entry in Architecture]))
    schedule = _read_schedule(block["schedule"]) if "schedule" in block else Schedule()
    context_length = block["context_length"].whole(minimum=2) if "context_length" in block else 512
    return TrainingRecipe(
        family=path.stem,
        path=path,
        architecture=architecture,
        context_length=context_length,
        tie_embeddings=block["tie_embeddings"].flag() if "tie_embeddings" in block else False,
        rotary_fraction=_number(block, "rotary_fraction", 0.25, maximum=1.0),
        initializer_range=_number(block, "initializer_range", 0.02, maximum=1.0),
        flops_convention=convention,
        schedule=schedule,
        weight_decay=_number(block, "weight_decay", 0.1, maximum=1.0),
        beta2=_number(block, "beta2", 0.95, maximum=0.99999),
        clip_norm=_number(block, "clip_norm", 1.0),
        learning_rate_scale=_number(block, "learning_rate_scale", 1.0, maximum=100.0),
        checkpoints=block["checkpoints"].whole(minimum=1) if "checkpoints" in block else 1,
        validation_tokens=block["validation_tokens"].whole(minimum=1) if "validation_tokens" in block else 262_144,
        precision=block["precision"].one_of(["auto", "float32", "bfloat16"]) if "precision" in block else "auto",
        compile=block["compile"].one_of(["auto", "always", "never"]) if "compile" in block else "auto",
        seed=block["seed"].whole() if "seed" in block else 0,
        members=_read_members(block["members"], architecture, schedule, context_length),
    )


def _number(block: dict[str, Field], name: str, default: float, *, maximum: float = math.inf) -> float:
    return block[name].number(maximum=maximum) if name in block else default


def _read_schedule(field: Field) -> Schedule:
    entries = field.entries(required=("kind",), optional=("warmup", "floor", "decay"))
    kind = ScheduleKind(entries["kind"].one_of([entry.value for entry in ScheduleKind]))
    if kind is not ScheduleKind.WSD and "decay" in entries:
        raise entries["decay"].error("has no meaning for a cosine", expected="kind: wsd")
    warmup = _number(entries, "warmup", 0.05, maximum=0.9)
    decay = _number(entries, "decay", 0.2, maximum=1.0)
    return Schedule(kind=kind, warmup=warmup, floor=_number(entries, "floor", 0.0, maximum=1.0), decay=decay)


def _read_members(
    field: Field, architecture: Architecture, schedule: Schedule, context_length: int
) -> tuple[MemberRecipe, ...]:
    members: list[MemberRecipe] = []
    for entry in field.elements():
        member = _read_member(entry, architecture, schedule, context_length)
        twin = next((other for other in members if other.name == member.name), None)
        if twin is not None:
            raise entry.error(f"repeats the name '{member.name}' of line {twin.line}", expected="one entry per member")
        members.append(member)
    return tuple(members)


def _read_member(field: Field, architecture: Architecture, schedule: Schedule, context_length: int) -> MemberRecipe:
    entries = field.entries(
        required=("name", "hidden_size", "layers", "heads", "tokens"),
        optional=("intermediate_size", "branches", "learning_rate", "batch_tokens"),
    )
    name = entries["name"].text()
    if "/" in name or name.startswith("."):
        raise entries["name"].error(f"is {name!r}", expected="a name that can be a folder's")
    hidden_size, heads = entries["hidden_size"].whole(minimum=2), entries["heads"].whole(minimum=1)
    if hidden_size % heads or (hidden_size // heads) % 2:
        raise entries["heads"].error(
            f"is {heads}", expected=f"a divisor of hidden_size {hidden_size} that leaves an even head size"
        )
    # GPT-NeoX: 4 d; Llama: 8/3 d, so that three matrices cost what two of 4 d do, rounded up to a multiple of 8.
    default = 4 * hidden_size if architecture is Architecture.GPT_NEOX else 8 * math.ceil(hidden_size / 3)
    tokens = _tokens(entries["tokens"], minimum=context_length)
    batch = _tokens(entries["batch_tokens"], minimum=context_length) if "batch_tokens" in entries else None
    return MemberRecipe(
        name=name,
        hidden_size=hidden_size,
        layers=entries["layers"].whole(minimum=1),
        heads=heads,
        intermediate_size=entries["intermediate_size"].whole(minimum=1) if "intermediate_size" in entries else default,
        tokens=tokens,
        branches=_read_branches(entries["branches"], schedule, tokens) if "branches" in entries else (),
        learning_rate=entries["learning_rate"].number(minimum=1e-12, maximum=10.0) if "learning_rate" in entries else None,
        batch_tokens=batch,
        line=field.line,
    )


def _tokens(field: Field, *, minimum: int) -> int:
    """Return a number of tokens; `2e6` is one too."""
    number = field.number(minimum=float(minimum), maximum=TOKENS.high)
    if number != int(number):
        raise field.error(f"is {number}", expected="a whole number of tokens")
    return int(number)


def _read_branches(field: Field, schedule: Schedule, tokens: int) -> tuple[int, ...]:
    if schedule.kind is not ScheduleKind.WSD:
        raise field.error("has no meaning for a cosine", expected="schedule: {kind: wsd}")
    branches: list[int] = []
    for entry in field.elements():
        budget = _tokens(entry, minimum=1)
        if budget >= tokens or (branches and budget <= branches[-1]):
            raise entry.error(f"is {budget}", expected=f"budgets that rise and stay below tokens, {tokens}")
        branches.append(budget)
    return tuple(branches)
