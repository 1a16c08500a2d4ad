"""How scores of running text are shown: per token, per byte, and as perplexity with the tokenizer that it is bound to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from forecast.cli.console import stdout_console

ROLLING = "loglikelihood_rolling"
_COLUMNS = (
    "model",
    "revision",
    "text",
    "docs",
    "nll_per_token",
    "bits_per_byte",
    "perplexity",
    "scoring",
    "dtype",
    "tokens computed",
)


def with_perplexity(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Add `perplexity` = exp(nll_per_token) to rows of running text, `pseudo_perplexity` where a masked model scored it.

    Both count per token of the checkpoint's own tokenizer; across tokenizers only `bits_per_byte` compares.
    """
    return [{**row, _perplexity_name(row): _perplexity(row)} if row.get("output_type") == ROLLING else row for row in rows]


def print_text_table(rows: Sequence[dict[str, object]]) -> None:
    """Print the rows of running text, if there are any."""
    from rich.table import Table

    if not rows:
        return
    table = Table(*_COLUMNS)
    for row in rows:
        table.add_row(
            str(row["model"]),
            str(row["revision"]),
            str(row["task"]),
            str(row["n_items"]),
            _cell(row["nll_per_token"]),
            _cell(row["bits_per_byte"]),
            _cell(_perplexity(row)),
            "pseudo-loglikelihood" if _is_masked(row) else "autoregressive",
            str(row["dtype"]),
            str(row.get("tokens_computed") or ""),
        )
    stdout_console().print(table)
    stdout_console().say(
        "nll_per_token in nats; perplexity = exp(nll_per_token), per token of each checkpoint's own tokenizer: "
        "across tokenizers compare bits_per_byte"
    )


def _is_masked(row: dict[str, object]) -> bool:
    return str(row.get("backend", "")).endswith(":masked")


def _perplexity_name(row: dict[str, object]) -> str:
    return "pseudo_perplexity" if _is_masked(row) else "perplexity"


def _perplexity(row: dict[str, object]) -> float | None:
    nll_per_token = row["nll_per_token"]
    if not isinstance(nll_per_token, float):
        return None
    return math.exp(nll_per_token) if nll_per_token < 700 else math.inf


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ""
