"""What laws are of: the metrics and quantities that a law's output or input can be, by name.

Metrics are those of `forecast.core.metrics`. The other quantities are columns that a table may state; they have no place in
the results file. A law lists what it can be fitted to in order of preference; anything else that has a name here is refused.
"""

from __future__ import annotations

from forecast.core.metrics import METRICS, MetricKind

SMOOTH: tuple[str, ...] = tuple(metric.name for metric in METRICS if metric.kind is MetricKind.SMOOTH and metric.falls)
"""Loss-like measures of a benchmark's correct answer."""
LOSSES: tuple[str, ...] = ("loss", *SMOOTH)
"""Loss on general text first: most laws were found there."""
ACCURACIES: tuple[str, ...] = tuple(metric.name for metric in METRICS if metric.is_accuracy)
ERRORS: tuple[str, ...] = tuple("error" + name.removeprefix("acc") for name in ACCURACIES)
"""1 - accuracy; derived where a table or results file has the accuracy."""
COUNTS: tuple[str, ...] = ("params", "params_non_embedding", "tokens", "flops", "step")
OTHERS: tuple[str, ...] = (
    "batch_tokens",
    "learning_rate",
    "flops_per_token",
    "neg_log_pass_rate",
    "excess_risk",
    "tokens_transferred",
    "tokens_finetune",
    "token_multiplier",
)
"""-log pass rate is the mean over problems, nats; tokens transferred are Hernandez 2021's effective data D_T."""
ALL: tuple[str, ...] = (*LOSSES, *ERRORS, *ACCURACIES, "p_gold", *COUNTS, *OTHERS)
"""Every name with a fixed meaning. A column of another name may be anything, and is taken as the user says."""
