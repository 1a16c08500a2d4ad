"""Forecasts of tasks called emergent beside usual ones, own runs only. By hand: python tests/speed/measure_emergent.py.

Public families of four models or more, fitted on their k >= 3 smallest, targets of 1.9 times their compute or more; then the
suites of measure_forecasts and rolling cuts of the same sources. Results are kept in `--cache` under the code's own digest, so
that a second look costs nothing.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import pickle
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure_forecasts import suites

import forecast.forecasting
from forecast.core.distribution import Distribution
from forecast.core.errors import NotForecastableError
from forecast.core.observations import Ladder
from forecast.forecasting.ensemble import member_names
from forecast.forecasting.predictive import predict_points
from forecast.forecasting.preparation import prepare
from forecast.forecasting.rehearsal import rehearse
from forecast.forecasting.rolling_origin import distance, points_of, rolling_origins
from forecast.forecasting.sample import Points, Sample
from forecast.forecasting.verdicts import judge

LEVELS = (0.5, 0.8, 0.9, 0.95)
USUAL = ("arc_challenge", "hellaswag", "humaneval", "mmlu", "truthfulqa_mc2", "winogrande", "xwinograd")
FIRST_HALF = ("Llama", "OPT", "Cerebras-GPT", "Falcon")
"""Families of one half; the constants of the priors were looked at on all, so both halves are printed."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One fit, and what it is scored on."""

    suite: str
    family: str
    task: str
    sample: Sample
    points: Points
    truth: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Result:
    """One forecast of one run."""

    suite: str
    family: str
    task: str
    truth: float
    last: float
    expected: Distribution
    verdict: str


def public_ladders(path: Path) -> Iterator[tuple[str, Ladder]]:
    """Class and ladder of every family with four models or more on a task; rows without compute are left out."""
    rows: dict[tuple[str, str], dict[str, dict[str, str]]] = defaultdict(dict)
    classes: dict[str, str] = {}
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            emergent = row["table"] == "emergent" or row["task"] == "gsm8k_cot"
            if row["flops"] and (emergent or row["task"] in USUAL):
                classes[row["task"]] = "emergent" if emergent else "usual"
                rows[row["family"], row["task"]].setdefault(row["model"], row)
    for (family, task), models in sorted(rows.items()):
        found = sorted(models.values(), key=lambda row: float(row["flops"]))
        if len(found) < 4:
            continue

        def column(name: str, found: list[dict[str, str]] = found) -> np.ndarray:
            return np.array([float(row[name] or "nan") for row in found])

        yield (
            classes[task] + (", GSM8K" if task == "gsm8k_cot" else ""),
            Ladder(
                family=family,
                task=task,
                model=tuple(row["model"] for row in found),
                params=column("params"),
                tokens=column("tokens"),
                flops=column("flops"),
                step=np.full(len(found), np.nan),
                is_final=np.ones(len(found), dtype=bool),
                metrics={"acc": column("acc")},
                n_items=column("n_items"),
                chance=float(column("chance")[0]),
            ),
        )


def cases(folder: Path, *, rolling: bool) -> Iterator[Case]:
    """Everything that is measured."""
    for name, ladder in public_ladders(folder / "obsscaling2024.csv.gz"):
        for k in range(3, len(ladder)):
            far = (ladder.flops >= 1.9 * ladder.flops[k - 1]) & (np.arange(len(ladder)) >= k)
            if far.any():
                yield from _split(name, ladder.take(np.arange(k)), ladder.take(far))
    if not rolling:
        return
    for name, ladders, split in suites(folder):
        for ladder in ladders:
            yield from _split(name, *split(ladder))
    for name, step, most in (("OLMo <= 760M", 1, 4), ("Pythia <= 1.4B", 2, 4), ("Gadre, each task", 3, 5)):
        for ladder in next(ladders for suite, ladders, _ in suites(folder) if suite == name)[::step]:
            sample = prepare(ladder, metric="acc").sample
            for origin in rolling_origins(sample, at_most=most):
                held = points_of(sample, origin.held)
                yield Case(
                    suite=f"rolling cuts of {name.split(' ')[0].strip(',')}",
                    family=ladder.family,
                    task=ladder.task,
                    sample=sample.rows(origin.fitted),
                    points=held,
                    truth=sample.accuracy[0][origin.held],
                )


def _split(suite: str, fitted: Ladder, targets: Ladder) -> Iterator[Case]:
    try:
        sample = prepare(fitted, metric="acc").sample
    except NotForecastableError:  # All the accuracies are equal.
        return
    points = Points(log_flops=np.log(targets.flops), log_params=np.log(targets.params), log_tokens=np.log(targets.tokens))
    truth = targets.metrics["acc"]
    yield Case(suite=suite, family=fitted.family, task=fitted.task, sample=sample, points=points, truth=truth)


def forecast_case(case: Case) -> list[Result]:
    """Forecast with `auto`."""
    names = member_names(case.sample, "auto")
    rng = np.random.default_rng(0)
    rehearsal = rehearse(case.sample, names, case.points, rng, at_most=3 if case.suite.startswith("rolling") else 8)
    found = predict_points(case.sample, case.points, names, replicates=24, rng=rng, rehearsal=rehearsal)
    last = float(case.sample.accuracy[0][np.argmax(case.sample.log_flops)])
    far = distance(case.points, case.sample)
    return [
        Result(
            suite=case.suite,
            family=case.family,
            task=case.task,
            truth=float(truth),
            last=last,
            expected=found.at(k),
            verdict=judge(case.sample, found, k, float(far[k])).verdict.value,
        )
        for k, truth in enumerate(case.truth)
    ]


def describe(name: str, results: list[Result]) -> str:
    """One row of the table, in points."""
    error = 100 * np.mean([abs(r.expected.median - r.truth) for r in results])
    naive = 100 * np.mean([abs(r.last - r.truth) for r in results])
    crps = 100 * np.mean([r.expected.crps(r.truth) for r in results])
    inside = [f"{100 * np.mean([r.expected.holds(r.truth, level) for r in results]):.0f}" for level in LEVELS]
    width = [100 * np.mean([np.diff(r.expected.interval(level))[0] for r in results]) for level in (0.8, 0.9)]
    sure = [abs(r.expected.median - r.truth) > 0.05 for r in results if r.verdict == "predictable"]
    wrong = f"{sum(sure)} of {len(sure)}"
    cells = [name, str(len(results)), f"{naive:.2f}", f"{error:.2f}", f"{crps:.2f}", *inside]
    return "| " + " | ".join([*cells, f"{width[0]:.1f} / {width[1]:.1f}", wrong]) + " |"


def pit(results: list[Result]) -> str:
    """Counts of the truth's probability in tenths, ties spread evenly; even when calibrated."""
    rng = np.random.default_rng(0)
    at = []
    for r in results:
        high = r.expected.cdf(r.truth)
        at.append(high - rng.random() * (high - r.expected.cdf(np.nextafter(r.truth, -1.0))))
    return " ".join(str(count) for count in np.histogram(at, bins=10, range=(0.0, 1.0))[0])


def _digest() -> str:
    folder = Path(forecast.forecasting.__file__).parent
    text = b"".join(path.read_bytes() for path in sorted(folder.parent.glob("forecasting/**/*.py")))
    return hashlib.sha256(text).hexdigest()[:12]


def measured(options: argparse.Namespace) -> list[Result]:
    """Results from the cache, or made anew."""
    kept = options.cache / f"{_digest()}{'-rolling' if options.rolling else ''}.pickle"
    if kept.is_file():
        return pickle.loads(kept.read_bytes())
    results = [result for case in cases(options.data, rolling=options.rolling) for result in forecast_case(case)]
    options.cache.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(pickle.dumps(results))
    return results


def main() -> None:
    """Print one line a class, and one for each half of the families."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data/published"))
    parser.add_argument("--cache", type=Path, default=Path("/tmp/measure-emergent"))
    parser.add_argument("--rolling", action="store_true", help="also the suites of measure_forecasts, and rolling cuts")
    results = measured(parser.parse_args())
    print(
        "| class | forecasts | no change | MAE | CRPS | 50 % | 80 % | 90 % | 95 % | width 80 / 90 | predictable, off by > 5 |"
    )
    histograms = []
    for suite in dict.fromkeys(result.suite for result in results):
        own = [result for result in results if result.suite == suite]
        print(describe(suite, own))
        histograms.append(f"{suite}: {pit(own)}")
        if suite in ("emergent", "usual"):
            print(describe(f"{suite}, first half", [r for r in own if r.family in FIRST_HALF]))
            print(describe(f"{suite}, second half", [r for r in own if r.family not in FIRST_HALF]))
    print("\nprobability of the truth, in tenths\n" + "\n".join(histograms))


if __name__ == "__main__":
    main()
