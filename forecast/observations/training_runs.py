"""Runs whose size, data, compute and loss are known, counted by one convention."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.errors import UsageError
from forecast.core.observations import FloatArray
from forecast.core.units import FLOPS_PER_PARAM_TOKEN, FlopsConvention, deepseek_flops_per_token
from forecast.laws import get_law
from forecast.laws.hyperparameters import Sweep
from forecast.laws.optimal import TrainingRuns
from forecast.laws.quantities import LOSSES
from forecast.observations.law_columns import check_output, in_order
from forecast.observations.measurements import Measurements, Notice
from forecast.observations.plain_rows import check_used

COUNTED = tuple(
    kind.value for kind in (FlopsConvention.SIX_ND_TOTAL, FlopsConvention.SIX_ND_NON_EMBEDDING, FlopsConvention.DEEPSEEK_MD)
)
"""Conventions that FLOPs can be counted anew by."""
_CONSTANT_RATIO = 1.05
"""C / (6 N D) within 5 % over all rows: N and C are of one convention."""
_RATE_NAMES = ("learning_rate", "lr", "peak_lr")
_BATCH_NAMES = ("batch_tokens", "batch_size_tokens", "batch")


@dataclass(frozen=True, kw_only=True, eq=False)
class CountedRuns:
    """Runs, and what their numbers are counts of."""

    runs: TrainingRuns
    metric: str
    """Column of the loss."""
    params_kind: str
    """Parameters that N counts: `total`, `non-embedding` or `M / 6`."""
    flops_convention: str


def training_runs(data: Measurements, metric: str | None, convention: str | None, *, notice: Notice) -> CountedRuns:
    """Take the rows that state a loss, parameters, tokens and FLOPs.

    Args:
        data: measurements.
        metric: column of the loss; None takes the first that is known.
        convention: FLOPs are counted anew by it; None keeps the rows' own.
        notice: takes what the user should read.

    Raises:
        UsageError: no loss column, a metric that is not a loss, no parameters or tokens, or a convention that the rows lack
            the numbers for.
        FitError: a loss that cannot be in its unit.
    """
    name = _loss_column(data, metric)
    loss = data.column(name)
    check_used(data.columns, data.runs, {name: name})
    tokens = data.column("tokens")
    if convention is not None:
        params, per_token, kind = _count_anew(data, convention)
        flops, used = per_token * tokens, convention
    else:
        flops = data.column("flops")
        column, used = _matching_params(data, flops, tokens)
        params, kind = data.column(column), "total" if column == "params" else "non-embedding"
    usable = np.isfinite(loss) & (loss > 0) & np.isfinite(params) & np.isfinite(tokens) & (tokens > 0)
    usable &= np.isfinite(flops) & (flops > 0) & (params > 0)
    rows = np.flatnonzero(usable)
    if len(rows) == 0:
        raise UsageError(f"{data.source} has no row with {name}, {kind} parameters, tokens and FLOPs")
    if len(rows) < len(data):
        notice(
            f"{len(data) - len(rows)} of {len(data)} rows lack one of {name}, {kind} parameters, tokens and FLOPs, or are "
            "untrained, and are left out"
        )
    runs = TrainingRuns(params=params, tokens=tokens, flops=flops, loss=loss, run=data.runs).take(rows)
    return CountedRuns(runs=runs, metric=name, params_kind=kind, flops_convention=used)


def _loss_column(data: Measurements, metric: str | None) -> str:
    """The user's loss, else the first that was measured: general text, then the card's, then in the metrics' order."""
    if metric is not None:
        data.column(metric)
        check_output(get_law("chinchilla"), metric)
        return metric
    wanted = in_order(LOSSES, data.task)
    present = [name for name in wanted if name in data.columns]
    if not present:
        raise UsageError(
            f"{data.source} has no loss",
            expected="a column " + " or ".join(wanted),
            remedy="name the one that holds it: `metric=`",
        )
    return present[0]


def hyperparameter_sweep(data: Measurements, metric: str) -> Sweep | None:
    """Learning rates and batches with their losses, None where the table does not state them."""
    rate = next((name for name in _RATE_NAMES if name in data.columns), None)
    batch = next((name for name in _BATCH_NAMES if name in data.columns), None)
    if rate is None or batch is None:
        return None
    return Sweep(
        flops=data.column("flops"),
        loss=data.column(metric),
        learning_rate=data.column(rate),
        batch_tokens=data.column(batch),
    )


def _count_anew(data: Measurements, convention: str) -> tuple[FloatArray, FloatArray, str]:
    """Parameters, FLOPs per token, and which parameters these are, by a convention that can be counted from a table's columns.

    DeepSeek's C = M D measures size by M alone; here by M / 6, so that C = 6 N D holds as elsewhere.
    """
    if convention not in COUNTED:
        raise UsageError(f"FLOPs cannot be counted by '{convention}' here", expected=" or ".join(COUNTED))
    if convention == FlopsConvention.SIX_ND_TOTAL.value:
        params = data.column("params")
        return params, FLOPS_PER_PARAM_TOKEN * params, "total"
    if convention == FlopsConvention.SIX_ND_NON_EMBEDDING.value:
        params = data.column("params_non_embedding")
        return params, FLOPS_PER_PARAM_TOKEN * params, "non-embedding"
    shape = [data.column(name) for name in ("n_layer", "d_model", "n_ctx")]
    per_token = np.array([_per_token(*row) for row in zip(*shape, strict=True)])
    return per_token / FLOPS_PER_PARAM_TOKEN, per_token, "M / 6"


def _per_token(n_layer: float, d_model: float, n_ctx: float) -> float:
    whole = all(np.isfinite(value) and value >= 1 for value in (n_layer, d_model, n_ctx))
    return deepseek_flops_per_token(int(n_layer), int(d_model), int(n_ctx)) if whole else float("nan")


def _matching_params(data: Measurements, flops: FloatArray, tokens: FloatArray) -> tuple[str, str]:
    """Which count of parameters the FLOPs were made with, and by what name that convention goes."""
    columns = [name for name in ("params", "params_non_embedding") if name in data.columns]
    for column, name in (("params", "6nd-total"), ("params_non_embedding", "6nd-non-embedding")):
        if column in columns:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = flops / (FLOPS_PER_PARAM_TOKEN * data.column(column) * tokens)
            ratio = ratio[np.isfinite(ratio)]
            if len(ratio) and np.max(np.abs(np.log(ratio))) <= np.log(_CONSTANT_RATIO):
                return column, name
    if not columns:
        data.column("params")
    return columns[0], data.flops_convention
