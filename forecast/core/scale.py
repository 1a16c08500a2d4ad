"""The one check of scale: how many parameters, tokens and FLOPs a training run can have, and whether they agree.

A slip of unit (7 for 7 billion, FLOPs in teraFLOPs, a column of millions) fits a law as well as a true number does, and
every forecast that follows is wrong. Tables, options, targets and cards are all checked here: an importer calls
`scale_fault` and adds file, row and column; an option or a card calls `check_scale`, which raises.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from forecast.core.errors import ForecastError, UsageError
from forecast.core.units import FLOPS_PER_PARAM_TOKEN


@dataclass(frozen=True, kw_only=True)
class ScaleRange:
    """Range of a quantity of a training run. Zero tokens or FLOPs mean an untrained checkpoint."""

    low: float
    high: float
    noun: str

    @property
    def expected(self) -> str:
        """The range in words."""
        return f"a number of {self.noun} from {self.low:g} to {self.high:g}"


PARAMS = ScaleRange(low=100.0, high=1e15, noun="parameters")
"""Parameters: from a toy of one layer to 1000 times the largest mixture of experts (1e12, Fedus 2021, arXiv:2101.03961)."""
TOKENS = ScaleRange(low=100.0, high=1e17, noun="training tokens")
"""Tokens: from one short batch of a toy to 100 times all text on the web (5e14 to 1e15, Villalobos 2024, arXiv:2211.04325)."""
FLOPS = ScaleRange(low=1e4, high=1e30, noun="training FLOPs")
"""FLOPs: from that batch of that toy to more than a thousand times what anybody has trained with (5e26 by 2025, epoch.ai)."""
RANGES = {"params": PARAMS, "params_non_embedding": PARAMS, "tokens": TOKENS, "flops": FLOPS}

LEAST_TOKENS_PER_PARAM, MOST_TOKENS_PER_PARAM = 1e-6, 1e9
"""GPT-3 had seen 2e-5 tokens per parameter after its first step; the most over-trained small models have seen 6e4."""
MOST_DISAGREEMENT = 1e4
"""Largest factor between FLOPs and 6 N D: mixtures of experts use a 2000th of their parameters, looped models use theirs
hundreds of times. A slip of unit is a factor of a million or more."""


@dataclass(frozen=True, kw_only=True)
class ScaleFault:
    """What is wrong with one run's numbers."""

    quantity: str
    """The number that is most likely wrong: params, params_non_embedding, tokens or flops."""
    value: float
    found: str
    """What is wrong, beginning with the quantity: `tokens is 300`."""
    expected: str


def scale_fault(
    *,
    params: float | None = None,
    params_non_embedding: float | None = None,
    tokens: float | None = None,
    flops: float | None = None,
    may_be_untrained: bool = False,
) -> ScaleFault | None:
    """Return what is wrong with a run's numbers, None where they can be true. Unknown numbers are None.

    Args:
        params: all parameters.
        params_non_embedding: parameters without the embeddings.
        tokens: training tokens seen.
        flops: training FLOPs by any convention.
        may_be_untrained: whether tokens and FLOPs may be 0: a checkpoint at step 0, never a target.

    >>> scale_fault(params=7e9, tokens=2e12) is None
    True
    >>> scale_fault(flops=7).found
    'flops is 7'
    >>> scale_fault(params=7e9, tokens=300).found
    'tokens is 300, 4.29e-08 per parameter'
    """
    numbers = {"params": params, "params_non_embedding": params_non_embedding, "tokens": tokens, "flops": flops}
    for name, value in numbers.items():
        untrained = may_be_untrained and value == 0 and name in ("tokens", "flops")
        allowed = RANGES[name]
        if value is not None and not untrained and not allowed.low <= value <= allowed.high:
            return ScaleFault(quantity=name, value=value, found=f"{name} is {value:.15g}", expected=allowed.expected)
    return _disagreement(params or params_non_embedding, tokens, flops)


def _disagreement(params: float | None, tokens: float | None, flops: float | None) -> ScaleFault | None:
    """Contradictions between two numbers that are each within range."""
    if not params or not tokens:
        return None
    ratio = tokens / params
    if not LEAST_TOKENS_PER_PARAM <= ratio <= MOST_TOKENS_PER_PARAM:
        return ScaleFault(
            quantity="tokens",
            value=tokens,
            found=f"tokens is {tokens:.15g}, {ratio:.3g} per parameter",
            expected=f"from {LEAST_TOKENS_PER_PARAM:g} to {MOST_TOKENS_PER_PARAM:g} tokens per parameter",
        )
    if not flops:
        return None
    counted = FLOPS_PER_PARAM_TOKEN * params * tokens
    if not 1 / MOST_DISAGREEMENT <= flops / counted <= MOST_DISAGREEMENT:
        return ScaleFault(
            quantity="flops",
            value=flops,
            found=f"flops is {flops:.3g}, but 6 x params x tokens is {counted:.3g}",
            expected=f"FLOPs within a factor of {MOST_DISAGREEMENT:g} of it",
        )
    return None


def check_scale(
    what: str,
    *,
    params: float | None = None,
    params_non_embedding: float | None = None,
    tokens: float | None = None,
    flops: float | None = None,
    may_be_untrained: bool = False,
    argument: str = "",
    error: type[ForecastError] = UsageError,
) -> None:
    """Raise `error`, naming `what` the numbers are of, unless they can be true; the others as for `scale_fault`.

    An empty `what` means arguments of the caller, which are named as such; `argument` is the one at fault where it is not
    called what the quantity is.

    Raises:
        UsageError: or the class that `error` names.
    """
    fault = scale_fault(
        params=params,
        params_non_embedding=params_non_embedding,
        tokens=tokens,
        flops=flops,
        may_be_untrained=may_be_untrained,
    )
    if fault is not None:
        remedy = "" if math.isfinite(fault.value) and fault.value > 0 else "give a finite number above 0"
        remedy = remedy or "check the unit: parameters, tokens and FLOPs are counted in ones"
        own = f"`{argument or fault.quantity}=`{fault.found.removeprefix(fault.quantity)}"
        raise error(f"{what}: {fault.found}" if what else own, expected=fault.expected, remedy=remedy)
