"""How scores of running text are shown: per token, per byte, and as perplexity with the tokenizer that it is bound to."""

from __future__ import annotations

from collections.abc import Sequence

from forecast.cli.console import stdout_console
from forecast.report.perplexity import is_masked, perplexity

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
            _cell(perplexity(row)),
            "pseudo-loglikelihood" if is_masked(row) else "autoregressive",
            str(row["dtype"]),
            str(row.get("tokens_computed") or ""),
        )
    stdout_console().print(table)
    stdout_console().say(
        "nll_per_token in nats; perplexity = exp(nll_per_token), per token of each checkpoint's own tokenizer: "
        "across tokenizers compare bits_per_byte"
    )


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ""
