"""How answers are decoded: a task's `generation_kwargs` as lm-eval's `hf` backend reads them, and what the user asks beside.

The rules are those of lm_eval/models/utils.py (`normalize_gen_kwargs`, `handle_stop_sequences`) and of `generate_until` and
`_model_generate` in lm_eval/models/huggingface.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forecast.core.errors import UsageError

DEFAULT_NEW_TOKENS = 256
"""lm-eval's `max_gen_toks` where a task names none (lm_eval/models/huggingface.py)."""
MOST_SAMPLES = 1 << 20
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names of the token limit, the strongest first."""
_READ = frozenset({*_LENGTHS, "until", "do_sample", "temperature", "top_p", "top_k"})


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """What a user asks of generated answers beside the task's own settings; None leaves those."""

    samples: int | None = None
    """Answers drawn for each item."""
    temperature: float | None = None
    top_p: float | None = None
    seed: int = 0
    """Of the draws."""
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            UsageError: as said.
        """
        if self.samples is not None and not 1 <= self.samples <= MOST_SAMPLES:
            raise UsageError(f"`samples=` {self.samples}", expected=f"1 to {MOST_SAMPLES:,}")
        if self.temperature is not None and not 0 <= self.temperature <= 100:
            raise UsageError(f"`temperature=` {self.temperature:g}", expected="0 (greedy) to 100")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"`top_p=` {self.top_p:g}", expected="above 0 and at most 1")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise UsageError(f"`max_gen_tokens=` {self.max_new_tokens}", expected="1 or more")
        if not 0 <= self.seed < 1 << 63:
            raise UsageError(f"`sampling_seed=` {self.seed}", expected="0 to 2^63 - 1")
        several = self.samples is not None and self.samples > 1
        if self.temperature == 0 and several:
            raise UsageError(
                f"`samples=` {self.samples} with `temperature=` 0: all answers would be the same one",
                expected="a temperature above 0, or one answer",
                remedy="pass `temperature=` 1 to draw from the model's own distribution, or leave `samples=` out",
            )
        if self.top_p is not None and not self.temperature:
            raise UsageError(
                "`top_p=` without `temperature=`: a greedy answer is not drawn",
                expected="`temperature=` above 0 beside it",
            )

    @property
    def is_default(self) -> bool:
        """Whether every task is decoded as it says itself."""
        return not self.identity

    @property
    def identity(self) -> dict[str, float]:
        """What sets these answers apart from those that the tasks ask for by themselves."""
        asked = {
            "samples": self.samples,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed or None,
            "max_new_tokens": self.max_new_tokens,
        }
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the answers to one request are decoded."""

    until: tuple[str, ...]
    """Stop strings of the task; the end-of-text token's text comes on top."""
    max_new_tokens: int
    samples: int
    temperature: float
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """Only the likeliest so many tokens are drawn from; 0 is all."""
    has_own_limit: bool = True
    """Whether task or user state the token limit; else it is lm-eval's default, which gives way to a short window."""
    other: tuple[tuple[str, Any], ...] = ()
    """Further arguments of transformers' `generate`."""

    @property
    def is_drawn(self) -> bool:
        """Whether answers are drawn at random."""
        return self.temperature > 0


def settle_decoding(kwargs: Mapping[str, Any], repeats: int, asked: SamplingSettings, *, task: str) -> Decoding:
    """Return how a task's answers are decoded: as it says, unless the user asks for something else.

    Raises:
        UsageError: several answers of a greedy task, or settings that contradict each other; the task is named.
    """
    lengths = [kwargs[name] for name in _LENGTHS if kwargs.get(name) is not None]
    until = kwargs.get("until") or []
    temperature = _own_temperature(kwargs, task)
    if asked.temperature is not None:
        temperature = asked.temperature
    samples = asked.samples if asked.samples is not None else repeats
    if samples > 1 and not temperature:
        what = f"`samples=` {samples}" if asked.samples is not None else f"{samples} answers (its `repeats`)"
        raise UsageError(
            f"task '{task}': {what} of a greedy request: all answers would be the same one",
            expected="a temperature above 0, or one answer",
            remedy="pass `temperature=` 1 to draw from the model's own distribution, or `samples=` 1",
        )
    top_p = asked.top_p if asked.temperature is not None else kwargs.get("top_p")
    top_k = None if asked.temperature is not None else kwargs.get("top_k")
    other = tuple(sorted((name, value) for name, value in kwargs.items() if name not in _READ))
    if other and temperature:
        raise UsageError(
            f"task '{task}' asks for {', '.join(name for name, _ in other)} in its generation_kwargs",
            expected="until, token limit, temperature, top_p and top_k where answers are drawn",
        )
    return Decoding(
        until=tuple([until] if isinstance(until, str) else [str(text) for text in until]),
        max_new_tokens=asked.max_new_tokens or int(lengths[0] if lengths else DEFAULT_NEW_TOKENS),
        samples=samples,
        temperature=float(temperature),
        top_p=1.0 if top_p is None or not temperature else float(top_p),
        top_k=0 if top_k is None or not temperature else int(top_k),
        has_own_limit=bool(asked.max_new_tokens or lengths),
        other=other,
    )


def _own_temperature(kwargs: Mapping[str, Any], task: str) -> float:
    """The task's own temperature, 0 where it is greedy: an explicit `do_sample: false` overrules it, as in lm-eval."""
    temperature = float(kwargs.get("temperature") or 0.0)
    if kwargs.get("do_sample") is False:
        return 0.0
    if kwargs.get("do_sample") and not temperature:
        raise UsageError(
            f"task '{task}' draws its answers (do_sample) at a temperature of 0",
            expected="a temperature above 0 in its generation_kwargs",
            remedy="pass `temperature=`",
        )
    return temperature
