"""Which runs to train: a ladder for a target budget, and the next run after those already made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forecast.api.optimal import training_runs
from forecast.core.errors import FitError, UsageError
from forecast.core.observations import FloatArray
from forecast.core.scale import check_scale
from forecast.core.units import FLOPS_PER_PARAM_TOKEN, deepseek_flops_per_token
from forecast.laws import Huber, LeastSquares, PublishedFit, fit, get_law
from forecast.laws.design import assess_candidates
from forecast.laws.optimal import Frontier, TrainingRuns, flops_per_param_token, parametric_frontier, published_frontier
from forecast.observations.measurements import Measurements, Notice, Selection, load_measurements

DEFAULT_FRACTION = 0.01
DEFAULT_RUNGS = 6
_RATIO = 10**0.5
"""Compute between neighbouring rungs: half a decade."""
_LEAST_TARGET = 1e12
"""Training FLOPs of a target that a ladder of smaller runs still fits below."""
_LEAST_RATIO, _LARGEST_RATIO = 0.01, 1e6
"""Tokens per parameter: from models that hardly see data to a thousand times what over-trained ones see."""
_LONGEST_CONTEXT = 100_000_000
_HEAD = 64
_ASPECT = 64.0
"""d_model / n_layer, within the flat optimum of Kaplan 2020 (arXiv:2001.08361), figure 5."""
_NEAR_OPTIMAL = 0.0025
"""DeepSeek (arXiv:2401.02954, section 3.1): hyperparameters within 0.25 % of the lowest loss count as optimal."""
_CANDIDATES_PER_AXIS = 12
_RATE_NAMES = ("learning_rate", "lr", "peak_lr")
_BATCH_NAMES = ("batch_tokens", "batch_size_tokens", "batch")


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One run to train. FLOPs are 6 N D, N without embeddings; the DeepSeek laws are asked at their own M D."""

    flops: float
    params_non_embedding: int
    n_layer: int
    d_model: int
    tokens: float
    tokens_per_param: float
    learning_rate: float
    batch_tokens: float
    steps: int
    flops_deepseek: float
    """M D with M = 72 n_layer d_model^2 + 12 n_layer d_model n_ctx."""
    loss: float | None
    """Predicted by the loss law used, None without one."""
    hours: float | None
    """On hardware of the given FLOP/s."""


@dataclass(frozen=True, kw_only=True)
class NextRun:
    """The run to train next, among those affordable."""

    params: float
    tokens: float
    flops: float
    target_sd_now: float
    """Relative standard deviation of the target's predicted mean loss."""
    target_sd_after: float
    reduction_per_flop: float
    alternatives: Mapping[str, float]
    """Policy -> the target's standard deviation after its run instead."""
    alternatives_flops: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A ladder for a target, and the next run where runs were given."""

    target_flops: float
    target_params: float
    target_tokens: float
    fraction: float
    ladder_flops: float
    """Sum over rungs."""
    allocation: str
    """Where sizes come from."""
    hyperparameters: str
    """Where learning rates and batches come from."""
    rungs: tuple[Rung, ...]
    next_run: NextRun | None
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        """Target and ladder, in one line."""
        target = f"{self.target_flops:.3g} FLOPs ({self.target_params:.3g} parameters, {self.target_tokens:.3g} tokens)"
        return f"<Plan for {target}: {len(self.rungs)} rungs, {self.ladder_flops:.3g} FLOPs>"


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What is wanted."""

    target_flops: float
    fraction: float = DEFAULT_FRACTION
    rungs: int = DEFAULT_RUNGS
    tokens_per_param: float | None = None
    """Fixed ratio instead of a compute-optimal one."""
    n_ctx: int = 2048
    """Training context, tokens."""
    flops_per_second: float | None = None
    next_budget: float | None = None
    """Most FLOPs of the next run; what is left of the fraction unless given."""
    seed: int = 0


def make_plan(source: Path | None, selection: Selection, request: PlanRequest, *, metric: str | None, notice: Notice) -> Plan:
    """Plan a ladder; with runs already made, refit the allocation on them and choose the next run.

    Raises:
        UsageError: a number that cannot be meant.
        ForecastError: the runs cannot be read.
    """
    _check(request)
    if source is None and (selection != Selection() or metric is not None or request.next_budget is not None):
        raise UsageError(
            "runs are chosen (`family=`, `task=`, `where=`, `metric=` or `next_budget=`), and none are given",
            remedy="name them with `table=` or `db=`",
        )
    warnings: list[str] = []
    frontier = published_frontier(f"{_printed_of('chinchilla').source} (printed constants)", _printed())
    loss_of: tuple[float, ...] | None = tuple(_printed())
    hyper, hyper_source = _deepseek(), "DeepSeek 2024 (printed constants)"
    next_run = None
    if source is not None:
        data = load_measurements(source, selection, notice=notice)
        runs, name, kind, convention = training_runs(data, metric, None)
        if kind == "total":
            warnings.append("the runs count all parameters, embeddings included; rungs are sized without embeddings")
        try:
            frontier, result = parametric_frontier(runs, replicates=0, seed=request.seed)
            loss_of = tuple(float(value) for value in result.theta)
        except FitError as error:
            warnings.append(f"allocation by printed constants: {error}")
        refitted = _refit_hyperparameters(data, name)
        if refitted is not None:
            hyper, hyper_source = refitted, f"refitted on runs within {100 * _NEAR_OPTIMAL:g} % of the lowest loss"
        spent = float(np.sum(runs.flops))
        budget = request.next_budget or max(request.fraction * request.target_flops - spent, 0.0)
        try:
            next_run = choose_next_run(runs, frontier, request.target_flops, budget, seed=request.seed)
            warnings.append(
                "the next run is best per FLOP if the law is right; where it may not be, prefer larger runs (docs/laws.md)"
            )
        except FitError as error:
            warnings.append(f"no next run: {error}")
        if convention == "published":
            warnings.append("FLOPs of the runs are as published; the target is taken to be counted alike")
    if request.tokens_per_param is not None:
        frontier = _fixed_ratio(request.tokens_per_param)
    rungs = tuple(_rung(c, frontier, hyper, loss_of, request) for c in ladder_budgets(request))
    warnings += _shape_warnings(rungs)
    return Plan(
        target_flops=request.target_flops,
        target_params=frontier.params(request.target_flops),
        target_tokens=frontier.tokens(request.target_flops),
        fraction=request.fraction,
        ladder_flops=float(sum(rung.flops for rung in rungs)),
        allocation=frontier.approach,
        hyperparameters=hyper_source,
        rungs=rungs,
        next_run=next_run,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _check(request: PlanRequest) -> None:
    check_scale("", flops=request.target_flops, argument="target_flops")
    if request.target_flops < _LEAST_TARGET:
        raise UsageError(f"`target_flops=` is {request.target_flops:g}", expected=f"at least {_LEAST_TARGET:g}")
    if not 0 < request.fraction <= 1:
        raise UsageError(f"fraction is {request.fraction:g}", expected="a number above 0 and at most 1, such as 0.01")
    if not 2 <= request.rungs <= 50:
        raise UsageError(f"{request.rungs} rungs", expected="from 2 to 50")
    ratio = request.tokens_per_param
    if ratio is not None and not _LEAST_RATIO <= ratio <= _LARGEST_RATIO:
        raise UsageError(f"{ratio:g} tokens per parameter", expected=f"from {_LEAST_RATIO:g} to {_LARGEST_RATIO:g}, such as 20")
    for name, value in (
        ("FLOP/s", request.flops_per_second),
        ("next budget", request.next_budget),
    ):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise UsageError(f"{name} is {value}", expected="a positive number")
    if not 1 <= request.n_ctx <= _LONGEST_CONTEXT:
        raise UsageError(f"a context of {request.n_ctx} tokens", expected=f"from 1 to {_LONGEST_CONTEXT:,}, such as 2048")


def _printed() -> list[float]:
    return [_printed_of("chinchilla").params[name] for name in ("A", "B", "E", "alpha", "beta")]


def _deepseek() -> tuple[FloatArray, FloatArray]:
    rate, batch = (get_law(name).vector(_printed_of(name).params) for name in ("deepseek-lr", "deepseek-batch"))
    return rate, batch


def _printed_of(law: str) -> PublishedFit:
    printed = get_law(law).printed
    assert printed is not None, f"{law} has printed constants"
    return printed


def _fixed_ratio(ratio: float) -> Frontier:
    """N = sqrt(C / (6 r)), D = r N."""
    n0 = -0.5 * float(np.log(FLOPS_PER_PARAM_TOKEN * ratio))
    return Frontier(
        approach=f"{ratio:g} tokens per parameter",
        n0=n0,
        a=0.5,
        d0=n0 + float(np.log(ratio)),
        b=0.5,
        replicates=np.empty((0, 4)),
        blocks=0,
        free=1,
    )


def ladder_budgets(request: PlanRequest) -> list[float]:
    """Budgets of the rungs: half a decade apart, together the fraction of the target.

    >>> budgets = ladder_budgets(PlanRequest(target_flops=1e22))
    >>> len(budgets), round(sum(budgets) / 1e20, 6)
    (6, 1.0)
    """
    weights = _RATIO ** np.arange(request.rungs)
    total = request.fraction * request.target_flops
    return [float(total * weight / weights.sum()) for weight in weights]


def _rung(
    flops: float,
    frontier: Frontier,
    hyper: tuple[FloatArray, FloatArray],
    loss_of: tuple[float, ...] | None,
    request: PlanRequest,
) -> Rung:
    """Round the size to a real transformer, and give it the tokens that spend the budget."""
    n_layer, d_model = transformer_shape(frontier.params(flops))
    params = 12 * n_layer * d_model**2
    tokens = flops / (FLOPS_PER_PARAM_TOKEN * params)
    deepseek = deepseek_flops_per_token(n_layer, d_model, request.n_ctx) * tokens
    at = np.array([[deepseek]])
    rate = float(get_law("deepseek-lr").predict(at, hyper[0])[0])
    batch = float(get_law("deepseek-batch").predict(at, hyper[1])[0])
    loss = None
    if loss_of is not None:
        loss = float(get_law("chinchilla").predict(np.array([[params, tokens]]), np.array(loss_of))[0])
    return Rung(
        flops=flops,
        params_non_embedding=params,
        n_layer=n_layer,
        d_model=d_model,
        tokens=tokens,
        tokens_per_param=tokens / params,
        learning_rate=rate,
        batch_tokens=min(batch, tokens),
        steps=max(1, round(tokens / batch)),
        flops_deepseek=deepseek,
        loss=loss,
        hours=None if request.flops_per_second is None else flops / request.flops_per_second / 3600.0,
    )


def transformer_shape(params: float) -> tuple[int, int]:
    """Return (n_layer, d_model) with 12 n_layer d_model^2 nearest to `params`, d_model a multiple of 64, near aspect 64.

    >>> transformer_shape(8.5e7)
    (12, 768)
    """
    best: tuple[float, int, int] | None = None
    centre = (params * _ASPECT / 12.0) ** (1.0 / 3.0)
    for multiple in range(max(1, int(0.6 * centre / _HEAD)), int(1.7 * centre / _HEAD) + 2):
        d_model = multiple * _HEAD
        n_layer = max(1, round(params / (12 * d_model**2)))
        size = abs(np.log(12 * n_layer * d_model**2 / params))
        aspect = abs(np.log(d_model / n_layer / _ASPECT))
        score = float(size + 0.05 * aspect)
        if best is None or score < best[0]:
            best = score, n_layer, d_model
    if best is None:
        return 1, _HEAD
    return best[1], best[2]


def _shape_warnings(rungs: tuple[Rung, ...]) -> list[str]:
    found = []
    if any(rung.params_non_embedding < 1e6 for rung in rungs):
        found.append("the smallest rungs are below 1M parameters: benchmarks will be at chance there; use fewer rungs")
    if any(rung.steps < 500 for rung in rungs):
        found.append("some rungs take fewer than 500 steps: warm-up and decay will not be representative there")
    return found


def _refit_hyperparameters(data: Measurements, metric: str) -> tuple[FloatArray, FloatArray] | None:
    """DeepSeek's laws on the user's own sweep: the near-optimal runs of each (N, D), where the table has rates and batches."""
    rate = next((name for name in _RATE_NAMES if name in data.columns), None)
    batch = next((name for name in _BATCH_NAMES if name in data.columns), None)
    if rate is None or batch is None:
        return None
    loss, flops = data.column(metric), data.column("flops")
    whole = np.isfinite(loss) & (flops > 0) & (data.column(rate) > 0) & (data.column(batch) > 0)
    budget = np.round(np.log(np.where(flops > 0, flops, np.nan)), 2)
    near = np.zeros(len(data), dtype=np.bool_)
    for value in np.unique(budget[whole]):
        rows = np.flatnonzero(whole & (budget == value))
        near[rows] = loss[rows] <= (1 + _NEAR_OPTIMAL) * np.min(loss[rows])
    if len(np.unique(budget[near])) < 3:
        return None
    c = flops[near]
    return (
        fit(get_law("deepseek-lr"), c, data.column(rate)[near], loss=Huber(0.1)).theta,
        fit(get_law("deepseek-batch"), c, data.column(batch)[near], loss=Huber(0.1)).theta,
    )


def choose_next_run(runs: TrainingRuns, frontier: Frontier, target_flops: float, budget: float, *, seed: int) -> NextRun:
    """Return the affordable (N, D) that takes most variance off the target's forecast per FLOP, and what others would do.

    Raises:
        FitError: nothing is affordable, or the fitted loss is not determined enough to weigh runs.
    """
    k = flops_per_param_token(runs)
    result = fit(
        get_law("chinchilla"), np.stack([runs.params, runs.tokens], axis=-1), runs.loss, loss=LeastSquares(), seed=seed
    )
    low = float(np.min(runs.flops))
    if budget < low:
        raise FitError(
            f"{budget:.3g} FLOPs remain in the budget after the runs already made, less than their cheapest ({low:.3g})",
            remedy="raise `fraction=`, or say with `next_budget=` what the next run may cost",
        )
    candidates = candidate_runs(low, budget, k)
    target = np.array([frontier.params(target_flops), target_flops / (k * frontier.params(target_flops))])
    design = assess_candidates(result, target, candidates)
    cost = k * candidates[:, 0] * candidates[:, 1]
    best = design.best(cost)
    optimal = np.argsort(np.abs(np.log(candidates[:, 1] / candidates[:, 0]) - np.log(target[1] / target[0])), kind="stable")
    on_line = optimal[: _CANDIDATES_PER_AXIS * 2]
    others = {
        "cheapest": int(on_line[np.argmin(cost[on_line])]),
        "largest": int(on_line[np.argmax(cost[on_line])]),
        "random": int(np.random.default_rng(seed).choice(len(candidates))),
    }
    return NextRun(
        params=float(candidates[best, 0]),
        tokens=float(candidates[best, 1]),
        flops=float(cost[best]),
        target_sd_now=design.target_sd,
        target_sd_after=float(design.sd_after[best]),
        reduction_per_flop=float(design.reduction[best] / cost[best]),
        alternatives={name: float(design.sd_after[index]) for name, index in others.items()},
        alternatives_flops={name: float(cost[index]) for name, index in others.items()},
    )


def candidate_runs(low: float, budget: float, k: float) -> FloatArray:
    """(N, D) on a grid: budgets from the cheapest run to the affordable, 2 to 200 tokens per parameter."""
    budgets = np.geomspace(low, budget, _CANDIDATES_PER_AXIS)
    ratios = np.geomspace(2.0, 200.0, _CANDIDATES_PER_AXIS)
    c, r = (grid.ravel() for grid in np.meshgrid(budgets, ratios))
    n = np.sqrt(c / (k * r))
    return np.stack([n, r * n], axis=-1)
