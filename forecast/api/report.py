"""Everything a results file can say, as one HTML page: forecasts beyond the largest run, a check on it, provenance."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from forecast.api.predict import Prediction, predict_ladders
from forecast.core.errors import InputError, NotForecastableError
from forecast.core.forecasts import Forecast, Target
from forecast.core.names import read_names
from forecast.core.observations import Ladder
from forecast.core.progress import Progress, SilentProgress
from forecast.core.scale import check_scale
from forecast.core.whole_files import replacing
from forecast.forecasting.reach import Reach, reach_of
from forecast.forecasting.request import ForecastRequest
from forecast.observations.ladders import FamilyLadders, Wanted, load_families
from forecast.observations.questions import Question
from forecast.report.forecast_figure import draw_forecast
from forecast.report.page import ReportContent, Section, render_page
from forecast.store import Store
from forecast.store.named_queries import PROVENANCE

DEFAULT_FACTORS = (10.0, 100.0)
"""Targets when none is named: so many times the largest run's compute."""


def write_report(
    db: str | Path,
    out: str | Path,
    *,
    tasks: str | Sequence[str] | None = None,
    families: str | Sequence[str] | None = None,
    num_fewshot: int | None = None,
    chance: float | None = None,
    flops: Sequence[float] = (),
    level: float = 0.9,
    seed: int = 0,
    progress: Progress | None = None,
) -> int:
    """Write the page and return how many sections (family x task) it has; `out` appears whole or not at all.

    Args:
        db: results file.
        out: HTML file to write.
        tasks: benchmarks; None takes all that have accuracies.
        families: families; None takes all.
        num_fewshot: shots, where a task was measured with several; None takes the card's, else those of most runs.
        chance: accuracy of guessing on the named tasks; None takes the data's, else the card's.
        flops: training FLOPs of the targets; none means 10 and 100 times each ladder's largest run.
        level: nominal coverage of the intervals.
        seed: of everything random.
        progress: where bars and notices go.

    Raises:
        InputError: there is no such results file.
        UsageError: an unknown task or family, a group whose tasks were not asked alike, or a target or level out of range.
        NotForecastableError: nothing is stored that has an accuracy.
    """
    progress = progress or SilentProgress()
    db, out, tasks, families = Path(db), Path(out), read_names("tasks", tasks), read_names("families", families)
    if not db.is_file():
        raise InputError(
            f"there is no {db}", expected="a results file", remedy="run `forecast eval` first, or name it with `db=`"
        )
    request = ForecastRequest(level=level, seed=seed, num_fewshot=num_fewshot, chance=chance)
    for amount in flops:
        check_scale("`flops=`", flops=amount)
    wanted = Wanted(tasks=tasks, num_fewshot=num_fewshot, chance=chance)
    found = load_families(db, wanted, families, notice=progress.notice)
    sections: list[Section] = []
    with progress.stage("report", sum(len(part.asked) for part in found), "sections") as stage:
        for part in found:
            stage.describe(part.ladders[0].family)
            sections += _sections(part, flops, request, progress)
            stage.advance(len(part.asked))
    content = ReportContent(
        title="Capability forecasts",
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        version=version("capability-forecast"),
        database=db.name,
        sections=tuple(sections),
        provenance=tuple(Store(db).rows(PROVENANCE)),
    )
    _write(content, out)
    return len(sections)


def _write(content: ReportContent, out: Path) -> None:
    try:
        with replacing(out) as partial:
            partial.write_text(render_page(content), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}", remedy="name another file with `out=`") from error


def _sections(found: FamilyLadders, flops: Sequence[float], request: ForecastRequest, progress: Progress) -> list[Section]:
    """One section per task of a family; they share the scale of their intervals, as in `predict`."""
    ladders, siblings = found.ladders, found.siblings
    reaches = {ladder.task: reach_of(ladder) for ladder in ladders}
    known = [(ladder, reach) for ladder in ladders if (reach := reaches[ladder.task]).largest_model is not None]
    ahead = [Question(ladder=ladder, targets=_targets(reach.max_flops, flops)) for ladder, reach in known]
    check = [Question(ladder=ladder, holdout=reach.largest_model) for ladder, reach in known if len(set(ladder.model)) > 3]
    forecasts, failed = predict_ladders(ahead, request, siblings=siblings, progress=progress)
    checks, _ = predict_ladders(check, request, siblings=siblings, progress=progress)
    unknown = NotForecastableError("no checkpoint has both known training FLOPs and an accuracy")
    reasons = failed | {task: unknown for task, reach in reaches.items() if reach.largest_model is None}
    return [
        _section(
            ladder,
            reaches[ladder.task],
            [entry for entry in forecasts if entry.forecast.task == ladder.task],
            next((entry.forecast for entry in checks if entry.forecast.task == ladder.task), None),
            reasons.get(ladder.task),
        )
        for ladder in ladders
    ]


def _targets(top: float, flops: Sequence[float]) -> list[Target]:
    return [
        Target(name=f"{amount / top:.3g} x the largest run", flops=amount)
        for amount in (flops or [factor * top for factor in DEFAULT_FACTORS])
    ]


def _section(
    ladder: Ladder, reach: Reach, forecasts: Sequence[Prediction], check: Forecast | None, problem: Exception | None
) -> Section:
    return Section(
        family=ladder.family,
        task=ladder.task,
        n_checkpoints=len(ladder),
        n_runs=len(set(ladder.model)),
        min_flops=reach.min_flops,
        max_flops=reach.max_flops,
        chance=ladder.chance,
        largest_model=reach.largest_model or "",
        largest_accuracy=reach.largest_accuracy,
        accuracy_metric=reach.metric,
        num_fewshot=ladder.num_fewshot,
        forecasts=tuple(entry.forecast for entry in forecasts),
        check=check,
        figure_svg=_figure(forecasts[-1]) if forecasts else "",
        problem=f"No forecast: {problem}." if problem is not None else "",
    )


def _figure(prediction: Prediction) -> str:
    with TemporaryDirectory() as folder:
        path = draw_forecast(prediction.fitted, prediction.forecast, Path(folder) / "figure.svg")
        text = path.read_text(encoding="utf-8")
    return text[text.index("<svg") :]
