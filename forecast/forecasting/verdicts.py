"""Whether a benchmark can be forecast from these runs, with the reasons in sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast.core.distribution import Distribution
from forecast.core.forecasts import Verdict
from forecast.forecasting.predictive import Predictive, quantiles_of
from forecast.forecasting.rolling_origin import run_ends
from forecast.forecasting.sample import Sample

LARGE_ERROR = 0.05
"""What counts as a wrong forecast: five accuracy points."""
MOSTLY = 0.5
"""Share of unconverged fits from which a member is not trusted."""
LIKELY, POSSIBLE = 0.5, 0.15
"""Probabilities of a large error from which a forecast is not-predictable, and from which it is uncertain."""
LARGE_BACKTEST_ERROR = 0.10
"""A method that was so far off on these very runs has not been shown to work, however narrow its interval."""
LEFT_CHANCE = 0.02
"""A run that is two points above guessing, and more than two sampling errors, has left chance."""
BEYOND = 1.5
"""Targets further than this multiple of the furthest back-test are beyond the validated span."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict and why."""

    verdict: Verdict
    reasons: tuple[str, ...]
    risk: float
    """Probability of an error above five points, by the predictive distribution."""


def chance_of_large_error(expected: Distribution) -> float:
    """Probability of a value more than five points from the median, which is the forecast.

    >>> round(chance_of_large_error(Distribution.from_student(0.5, 0.05, 5)), 2)
    0.36
    """
    point = expected.median
    return 1.0 - expected.probability_within(point - LARGE_ERROR, point + LARGE_ERROR)


def at_chance(sample: Sample) -> bool:
    """Whether no run is above guessing by more than twice its sampling error."""
    ends = run_ends(sample)
    if not np.isfinite(sample.chance):
        return False
    return bool(np.all(sample.accuracy[0][ends] < sample.chance + 2.0 * sample.sampling_sd[ends]))


def single_risen(sample: Sample) -> bool:
    """Whether one run alone is above guessing: its luck and the benchmark's start cannot be told apart."""
    ends = run_ends(sample)
    if not np.isfinite(sample.chance):
        return False
    return int(np.sum(sample.accuracy[0][ends] >= sample.chance + np.maximum(2.0 * sample.sampling_sd[ends], LEFT_CHANCE))) == 1


def judge(sample: Sample, predictive: Predictive, index: int, target_distance: float, *, below: float = 0.0) -> Judgement:
    """Judge point `index` of a prediction.

    Args:
        sample: what was fitted.
        predictive: the prediction.
        index: which of its points.
        target_distance: how far the point lies beyond the largest run, in log C.
        below: how far it lies below the smallest run, in log C.
    """
    ends = run_ends(sample)
    values = sample.accuracy[0][ends]
    risk = chance_of_large_error(predictive.at(index))
    fatal: list[str] = []
    doubts: list[str] = []
    # Fatal reasons come first: a narrow interval does not make up for runs that say nothing about the benchmark.
    if np.ptp(values) < 1e-9:
        fatal.append(f"All {len(ends)} runs have the same accuracy ({values[0]:.1%}), so nothing says how it will change.")
    elif at_chance(sample):
        fatal.append(
            f"Every run is at chance ({sample.chance:.1%}): these runs do not say when the benchmark starts to be solved."
        )
    elif np.isin(values, (0.0, 1.0)).all():
        fatal.append("Every run scores exactly 0 or 1: these accuracies have no slope that could be followed.")
    elif single_risen(sample):
        doubts.append(
            "Only one run has left chance: whether it was lucky, and how fast the others will follow, cannot be told from it."
        )
    # Two parameters pass through any two points, so an error could not show.
    if len(ends) < 3:
        fatal.append(f"Only {len(ends)} runs were fitted; a curve through them cannot be checked.")
    doubts += _doubts(sample, predictive, ends, index)
    doubts += [
        f"{share:.0%} of the fits of '{name}' did not converge."
        for name, share in predictive.unsolved.items()
        if share > MOSTLY and predictive.ensemble.weights[name] > 0.0
    ]
    too_far, far = _remoteness(sample, predictive, target_distance, below)
    fatal += too_far
    doubts += far
    if risk > LIKELY:
        fatal.append(f"An error above 5 points has a probability of {risk:.0%}.")
    elif risk > POSSIBLE:
        doubts.append(f"An error above 5 points has a probability of {risk:.0%}.")
    if fatal:
        return Judgement(verdict=Verdict.NOT_PREDICTABLE, reasons=tuple(fatal + doubts), risk=risk)
    if doubts:
        return Judgement(verdict=Verdict.UNCERTAIN, reasons=tuple(doubts), risk=risk)
    reasons = [f"An error above 5 points has a probability of only {risk:.1%}."]
    if predictive.origins:
        error, naive = _errors(predictive)
        reasons.append(
            f"In {_count(predictive)} the mean error was {100 * error:.1f} points,"
            f" against {100 * naive:.1f} for repeating the last value."
        )
    return Judgement(verdict=Verdict.PREDICTABLE, reasons=tuple(reasons), risk=risk)


def _remoteness(sample: Sample, predictive: Predictive, target_distance: float, below: float) -> tuple[list[str], list[str]]:
    """Reasons against, and doubts about, a target this far beyond or below the runs."""
    fatal: list[str] = []
    doubts: list[str] = []
    span = float(np.ptp(sample.log_flops))
    if not predictive.origins:
        whose = "other tasks' and families'" if any(predictive.elsewhere) else "other families'"
        doubts.append(f"No back-test was possible inside these runs, so the interval rests on {whose} errors alone.")
    elif target_distance > BEYOND * predictive.validated and target_distance > 0:
        doubts.append(
            f"The target lies {np.exp(target_distance):.3g}x beyond the largest run; back-tests reach only"
            f" {np.exp(predictive.validated):.3g}x."
        )
    # Downwards a law is trusted over the runs' own span, and over a factor of ten where they span less.
    if below > max(span, np.log(10.0)):
        fatal.append(f"The target has {np.exp(below):.3g}x less compute than the smallest run: nothing there was measured.")
    elif below > np.log(2.0):
        doubts.append(f"The target has {np.exp(below):.3g}x less compute than the smallest run; back-tests only look upwards.")
    # Upwards over 1.5 times the span; a factor of 30 is allowed to short ladders, whose risk and doubts still count.
    if target_distance > max(1.5 * span, np.log(30.0)):
        fatal.append(
            f"The target lies {np.exp(target_distance):.3g}x beyond runs that span only {np.exp(span):.3g}x in compute."
        )
    return fatal, doubts


def _count(predictive: Predictive) -> str:
    number = len(predictive.origins)
    return f"{number} back-test{'' if number == 1 else 's'}"


def _errors(predictive: Predictive) -> tuple[float, float]:
    misses = [np.abs(quantiles_of(e, 0.5) - o.truth) for e, o in zip(predictive.rehearsed, predictive.origins, strict=True)]
    error = float(np.mean([np.mean(miss[np.isfinite(miss)]) for miss in misses]))
    naive = float(np.mean([np.mean(np.abs(o.persistence - o.truth)) for o in predictive.origins]))
    return error, naive


def _doubts(sample: Sample, predictive: Predictive, ends: np.ndarray[tuple[int], np.dtype[np.intp]], index: int) -> list[str]:
    doubts = []
    values, compute = sample.accuracy[0][ends], sample.log_flops[ends]
    noise = float(np.sqrt(np.mean(np.square(predictive.ensemble.accuracy(sample.points)[0][ends] - values))))
    signal = float(values[np.argmax(compute)] - np.min(values))
    # Progress of less than two standard deviations could be scatter alone.
    if signal < 2.0 * noise:
        doubts.append(f"Scatter about the curve ({100 * noise:.1f} points) is as large as the progress over the runs.")
    if len(ends) >= 4 and np.ptp(values) > 0:
        from scipy import stats

        # With three runs a single swap already gives .5, so the correlation is asked of four or more.
        rank = float(stats.spearmanr(compute, values).statistic)
        if rank < 0.5:
            doubts.append(f"Accuracy does not rise steadily with compute (rank correlation {rank:.2f}).")
    if predictive.origins:
        error, naive = _errors(predictive)
        if error > LARGE_BACKTEST_ERROR:
            doubts.append(
                f"In {_count(predictive)} the mean error was {100 * error:.1f} points: the curve does not describe these runs."
            )
        # Under one point both errors are within the sampling error of most benchmarks, and their order is chance.
        if error > naive and error > 0.01:
            doubts.append(
                f"In back-tests the curve was worse than repeating the last value ({100 * error:.1f} against"
                f" {100 * naive:.1f} points)."
            )
    if not np.isfinite(sample.chance):
        doubts.append("The chance level is not known, so these runs may all be guessing; state it with `chance=`.")
    else:
        top = float(values[np.argmax(compute)])
        # Less than a tenth of the way from chance to 1, and yet a rise of over ten points forecast: the sigmoid's middle, and
        # with it the forecast, then comes from the prior rather than from the runs.
        if top < sample.chance + 0.1 * (1 - sample.chance) and float(predictive.point[index]) > top + 0.1:
            doubts.append("The runs only begin to leave chance, so the middle of the sigmoid is not identified.")
    return doubts
