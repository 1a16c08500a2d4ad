"""One posterior over whole curves: where a benchmark leaves guessing, how steeply, up to where, and how far runs scatter.

accuracy = floor + (ceiling - floor) g(k (x - m)), x in decades of compute. The prior is a fixed sample of (m, k, shape,
scatter, shift) for each kind of curve; given one of them accuracy is linear in floor and ceiling, whose normal priors are
integrated exactly. So a posterior is a weighting of some thousand curves: no optimiser, no chain, a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecast.core.observations import BoolArray, FloatArray
from forecast.forecasting.curve_priors import CurveKind, PriorCurves, kind_probabilities, level_priors, prior_curves
from forecast.forecasting.rolling_origin import run_ends
from forecast.forecasting.sample import IntArray, Sample

LN10 = float(np.log(10.0))
DEGREES = 5.0
"""Degrees of freedom of a run's scatter about its curve: some runs are unlike their family."""
OWN_ITEMS = 0.5
"""Share of a run's sampling variance that it does not have in common with the others, which answer the same items."""
DRAWS = 1500
"""Curves kept of each kind."""
RUNS_PER_CURVE = 2
"""Runs that are imagined on each kept curve."""
MOST_ROWS = 48
"""Rows from which only the ends of the runs are read: earlier checkpoints of so many runs say little more about the curve."""
LEAST_VARIANCE = 5e-4
"""Least p (1 - p): a curve at 0 or 1 still scatters a little."""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Equally likely curves of one kind; (D,) each."""

    floor: FloatArray
    ceiling: FloatArray
    steepness: FloatArray
    """Per decade."""
    onset: FloatArray
    """log10 C of the middle."""
    gompertz: BoolArray
    scatter: FloatArray
    """Between runs, in units of sqrt(p (1 - p))."""
    shift: FloatArray
    """Between runs, in decades of compute."""
    items: float
    """Behind each accuracy."""

    def value(self, log_flops: FloatArray) -> FloatArray:
        """(D, K) accuracy of the curves themselves, without a run's luck, at (K,) natural logarithms of C."""
        return self._at(log_flops[None, :] / LN10)

    def of_runs(self, log_flops: FloatArray) -> FloatArray:
        """(2 D, K) accuracies that runs would measure: shifted along the curve, scattered about it, on finitely many items."""
        rng = np.random.default_rng(14)
        # One run's luck is the same at every point, so that what is expected at one does not depend on the others asked for.
        shape = (RUNS_PER_CURVE, self.floor.size, 1)
        at = log_flops / LN10 + self.shift[:, None] * rng.standard_normal(shape)
        p = self._at(at)
        sd = np.sqrt(np.maximum(p * (1.0 - p), LEAST_VARIANCE) * (1.0 / self.items + np.square(self.scatter[:, None])))
        result: FloatArray = np.clip(p + sd * rng.standard_t(DEGREES, shape), 0.0, 1.0).reshape(-1, log_flops.size)
        return result

    def _at(self, log10_flops: FloatArray) -> FloatArray:
        z = self.steepness[:, None] * (log10_flops - self.onset[:, None])
        return self.floor[:, None] + (self.ceiling - self.floor)[:, None] * _rise(z, self.gompertz[:, None])


@dataclass(frozen=True, kw_only=True)
class CurvePosterior:
    """What the runs say about the curve: for each kind its probability and equally likely curves."""

    probabilities: Mapping[CurveKind, float]
    curves: Mapping[CurveKind, Curves]

    def weighted_values(self, log_flops: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Curves of all kinds at (K,) log C: accuracies (D, K), and (D,) weights that sum to 1."""
        values = [self.curves[kind].value(log_flops) for kind in self.curves]
        weights = [np.full(len(v), self.probabilities[kind] / len(v)) for kind, v in zip(self.curves, values, strict=True)]
        return np.concatenate(values), np.concatenate(weights)


def fit_curves(sample: Sample, *, size: int | None = None, draws: int = DRAWS) -> CurvePosterior:
    """Weigh the prior's curves by the runs; checkpoints of one run count together as at most one run.

    Args:
        sample: data as measured.
        size: curves in the prior sample of each kind; None takes the usual number. Back-tests make do with fewer.
        draws: curves kept of each kind.
    """
    data = _Data.of(sample)
    guess = sample.chance if np.isfinite(sample.chance) else float(data.accuracy.min())
    prior = kind_probabilities(guess)
    log_weight, curves = {}, {}
    for kind in CurveKind:
        sampled = prior_curves(kind) if size is None else prior_curves(kind, size)
        log_evidence, curves[kind] = _weigh(data, kind, sampled, sample.chance, draws)
        log_weight[kind] = float(np.log(prior[kind])) + log_evidence
    top = max(log_weight.values())
    mass = {kind: float(np.exp(value - top)) for kind, value in log_weight.items()}
    total = sum(mass.values())
    return CurvePosterior(probabilities={kind: value / total for kind, value in mass.items()}, curves=curves)


@dataclass(frozen=True, kw_only=True)
class _Data:
    """Rows of a sample; (M,) each."""

    x: FloatArray
    """log10 C from the largest run's."""
    top: float
    accuracy: FloatArray
    items: FloatArray
    weight: FloatArray

    @classmethod
    def of(cls, sample: Sample) -> _Data:
        if len(sample) > MOST_ROWS:
            sample = sample.rows(run_ends(sample))
        x, accuracy = sample.log_flops / LN10, sample.accuracy[0]
        weight = sample.weight[0].copy()
        for run in np.unique(sample.run):
            rows = sample.run == run
            weight[rows] /= max(1.0, float(weight[rows].sum()))
        # The sample keeps sampling errors, made with accuracies drawn in from the ends: this gives the items back.
        inside = np.clip(accuracy, 0.02, 0.98)
        items = np.clip(inside * (1.0 - inside) / np.square(np.maximum(sample.sampling_sd, 1e-6)), 20.0, 1e6)
        return cls(x=x - x.max(), top=float(x.max()), accuracy=accuracy, items=items, weight=weight)


def _weigh(data: _Data, kind: CurveKind, prior: PriorCurves, chance: float, draws: int) -> tuple[float, Curves]:
    """Log marginal likelihood of the rows under one kind of curve, and curves drawn from its posterior."""
    lowest = float(data.accuracy.min())
    levels = _Levels.of(*level_priors(kind, prior.low_ceiling, chance, lowest), sign=-1.0 if kind is CurveKind.FALLING else 1.0)
    rise, spread = _expected_rise(prior, data.x)
    p = (data.accuracy * data.items + 0.5) / (data.items + 1.0)
    own = p * (1.0 - p) * (OWN_ITEMS / data.items + np.square(prior.scatter[:, None])) + 1e-7
    variance = own + np.square(levels.height)[:, None] * spread
    log_density, posterior = levels.given(rise, variance, data)
    top = float(log_density.max())
    weight = np.exp(log_density - top)
    rng = np.random.default_rng(14)
    # Systematic resampling: the least noise that equally likely draws can have.
    place = (np.arange(draws) + rng.random()) / draws * weight.sum()
    chosen = rng.permutation(np.minimum(np.searchsorted(np.cumsum(weight), place), weight.size - 1))
    floor, ceiling = posterior.draw(chosen, rng)
    curves = Curves(
        floor=floor,
        ceiling=ceiling,
        steepness=prior.steepness[chosen],
        onset=prior.onset[chosen] + data.top,
        gompertz=prior.gompertz[chosen],
        scatter=prior.scatter[chosen],
        shift=prior.shift[chosen],
        items=float(np.median(data.items)),
    )
    return top + float(np.log(weight.mean())), curves


def _expected_rise(prior: PriorCurves, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and variance (N, M) of g over a run's shift along the curve."""
    z = prior.steepness[:, None] * (x[None, :] - prior.onset[:, None])
    step = (prior.steepness * prior.shift)[:, None]
    mean, square = np.zeros_like(z), np.zeros_like(z)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        g = _rise(z + step * node, prior.gompertz[:, None])
        mean += weight * g
        square += weight * g * g
    return mean, np.maximum(square - mean * mean, 0.0)


def _rise(z: FloatArray, gompertz: BoolArray) -> FloatArray:
    # Beyond 30 both shapes are 0 or 1 to the last bit that matters.
    e = np.exp(-np.clip(z, -30.0, 30.0))
    result: FloatArray = np.where(gompertz, np.exp(-e), 1.0 / (1.0 + e))
    return result


@dataclass(frozen=True, kw_only=True)
class _Levels:
    """A normal distribution of each curve's levels before and after its turn, the second above (sign 1) or below the first."""

    first: FloatArray
    second: FloatArray
    var_first: FloatArray
    covariance: FloatArray
    var_second: FloatArray
    sign: float

    @classmethod
    def of(cls, first: FloatArray, sd_first: FloatArray, second: FloatArray, sd_second: FloatArray, *, sign: float) -> _Levels:
        return cls(
            first=first,
            second=second,
            var_first=np.square(sd_first),
            covariance=np.zeros_like(first),
            var_second=np.square(sd_second),
            sign=sign,
        )

    @property
    def height(self) -> FloatArray:
        """(N,) expected distance between the levels."""
        result: FloatArray = np.abs(self.second - self.first)
        return result

    @property
    def _step(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of sign (second - first)."""
        variance = self.var_first + self.var_second - 2.0 * self.covariance
        return self.sign * (self.second - self.first), np.sqrt(np.maximum(variance, 1e-14))

    def _log_allowed(self) -> FloatArray:
        """Log probability that the second level lies within [0, 1], and on its own side of the first."""
        from scipy import special

        mean, sd = self._step
        side = np.maximum(special.ndtr((1.0 - mean) / sd) - special.ndtr(-mean / sd), 1e-12)
        below_one = np.maximum(special.ndtr((1.0 - self.second) / np.sqrt(self.var_second)), 1e-12)
        result: FloatArray = np.log(side) + np.log(below_one)
        return result

    def given(self, rise: FloatArray, variance: FloatArray, data: _Data) -> tuple[FloatArray, _Levels]:
        """Condition on rows y = (1 - g) first + g second + noise; their log density (N,), and the levels' posterior.

        Args:
            rise: (N, M) g.
            variance: (N, M) of the noise.
            data: y and the rows' weights, as powers of their likelihoods.
        """
        precision = data.weight / variance
        stay = 1.0 - rise
        residual = data.accuracy - stay * self.first[:, None] - rise * self.second[:, None]
        a11 = np.sum(stay * stay * precision, axis=1) + 1.0 / self.var_first
        a12 = np.sum(stay * rise * precision, axis=1)
        a22 = np.sum(rise * rise * precision, axis=1) + 1.0 / self.var_second
        b1, b2 = np.sum(stay * residual * precision, axis=1), np.sum(rise * residual * precision, axis=1)
        det = a11 * a22 - a12 * a12
        up, down = (a22 * b1 - a12 * b2) / det, (a11 * b2 - a12 * b1) / det
        posterior = _Levels(
            first=self.first + up,
            second=self.second + down,
            var_first=a22 / det,
            covariance=-a12 / det,
            var_second=a11 / det,
            sign=self.sign,
        )
        log_density = (
            -0.5 * (np.sum(residual * residual * precision, axis=1) - (up * b1 + down * b2))
            - 0.5 * np.sum(data.weight * np.log(variance), axis=1)
            - 0.5 * np.log(det * self.var_first * self.var_second)
        )
        return log_density + posterior._log_allowed() - self._log_allowed(), posterior

    def draw(self, chosen: IntArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Levels of the chosen curves, within [0, 1] and each on its side of the other."""
        from scipy import special

        mean, sd = (values[chosen] for values in self._step)
        low, high = special.ndtr(-mean / sd), special.ndtr((1.0 - mean) / sd)
        even = np.clip(low + rng.random(chosen.size) * (high - low), 1e-12, 1.0 - 1e-12)
        step = np.clip(mean + sd * special.ndtri(even), 0.0, 1.0)
        var_first = self.var_first[chosen]
        tied = self.sign * (self.covariance[chosen] - var_first)
        rest = np.sqrt(np.maximum(var_first - np.square(tied / sd), 0.0))
        first = self.first[chosen] + tied / np.square(sd) * (step - mean) + rest * rng.standard_normal(chosen.size)
        first = np.clip(first, 0.0, 1.0)
        return first, np.clip(first + self.sign * step, 0.0, 1.0)
