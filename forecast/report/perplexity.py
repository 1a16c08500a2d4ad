"""Perplexity of running text, bound to the tokenizer of the checkpoint that was scored."""

from __future__ import annotations

import math
from collections.abc import Sequence

ROLLING = "loglikelihood_rolling"
"""Output type of running text."""


def with_perplexity(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Add `perplexity` = exp(nll_per_token) to rows of running text, `pseudo_perplexity` where a masked model scored it.

    Both count per token of the checkpoint's own tokenizer; across tokenizers only `bits_per_byte` compares.
    """
    return [{**row, _name(row): perplexity(row)} if row.get("output_type") == ROLLING else row for row in rows]


def is_masked(row: dict[str, object]) -> bool:
    """Tell whether a masked model scored the row."""
    return str(row.get("backend", "")).endswith(":masked")


def perplexity(row: dict[str, object]) -> float | None:
    """Return exp(nll_per_token); None where that is not known.

    >>> perplexity({"nll_per_token": 0.0})
    1.0
    """
    nll_per_token = row["nll_per_token"]
    if not isinstance(nll_per_token, float):
        return None
    return math.exp(nll_per_token) if nll_per_token < 700 else math.inf


def _name(row: dict[str, object]) -> str:
    return "pseudo_perplexity" if is_masked(row) else "perplexity"
