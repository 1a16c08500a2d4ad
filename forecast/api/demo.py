"""The whole way in one go: make a world, train a family on it, score it, store it, and forecast its largest member."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forecast.api.evaluate import evaluate
from forecast.api.predict import Prediction, predict
from forecast.api.train import TrainingInputs, train_family
from forecast.catalog.training import MemberRecipe, read_recipe
from forecast.core.errors import InputError
from forecast.core.forecasts import Forecast
from forecast.core.progress import Progress, SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.core.resources import data_folder
from forecast.report.forecast_figure import draw_forecast
from forecast.training.demo_files import TASK_NAME, DemoFiles, demo_paths, write_world
from forecast.training.world import make_world

FAMILY = "demo"
MAX_JOBS = 2
"""Two members at a time: the largest takes as long as all others together."""
_STATE_EVERY_SECONDS = 10.0
_SPARE_TOKENS = 1_000
"""The corpus is a little longer than the largest budget, so that no member reads anything twice."""


@dataclass(frozen=True, kw_only=True)
class DemoMember:
    """One member's measured results."""

    model: str
    params: int
    tokens: int
    flops: float
    acc: float
    nll_per_char: float
    hidden: bool
    """The one that is forecast from the others."""


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What a demo made and found."""

    seed: int
    folder: Path
    db: Path
    plot: Path
    members: tuple[DemoMember, ...]
    """Smallest first."""
    forecast: Forecast
    """Of the hidden member, with the truth."""
    seconds: float
    """Of this call; what an earlier call had done is not counted."""

    @property
    def truth_inside(self) -> bool:
        """Whether the measured accuracy lies in the forecast's interval."""
        accuracy = self.forecast.accuracy
        return self.forecast.truth is not None and accuracy.lo <= self.forecast.truth <= accuracy.hi


def run_demo(
    folder: Path,
    *,
    seed: int = 0,
    card: Path | None = None,
    items: int | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> DemoResult:
    """Run the demo in `folder`, or go on where an earlier run was interrupted; equal seeds give equal worlds and weights.

    Args:
        folder: receives everything, in a subfolder per seed.
        seed: of the world, the weights, the data order and the forecast.
        card: another family card to train on the demo's world (tests); None takes models/demo.yaml.
        items: benchmark items; None takes the demo's own number.
        jobs: members trained side by side; None takes the cores, at most MAX_JOBS.
        progress: where bars and notices go.

    Raises:
        ForecastError: a stage failed; what earlier stages made is kept.
    """
    started = time.monotonic()
    progress = progress or SilentProgress()
    card = card or data_folder("models") / f"{FAMILY}.yaml"
    recipe = read_recipe(card)
    root = folder / f"seed-{seed}"
    largest = max(recipe.members, key=lambda member: member.tokens)
    files = _prepare_world(root, seed, largest, items, progress)
    db = root / "forecast.duckdb"
    training = train_family(
        card,
        TrainingInputs(corpus=files.corpus, tokenizer=files.tokenizer, validation=files.validation),
        folder=root / "checkpoints",
        db=db,
        seed=seed,
        jobs=jobs if jobs is not None else min(MAX_JOBS, os.cpu_count() or 1),
        threads=1,
        largest_first=True,
        state_every_seconds=_STATE_EVERY_SECONDS,
        progress=progress,
    )
    training.raise_failures()
    members, found = _score_and_forecast(training.checkpoints, files, db, recipe.family, largest.name, seed, progress)
    plot = draw_forecast(found.fitted, found.forecast, root / "forecast.png", held_out=found.held_out)
    return DemoResult(
        seed=seed,
        folder=root,
        db=db,
        plot=plot,
        members=members,
        forecast=found.forecast,
        seconds=time.monotonic() - started,
    )


def _score_and_forecast(
    checkpoints: Sequence[Path], files: DemoFiles, db: Path, family: str, hidden: str, seed: int, progress: Progress
) -> tuple[tuple[DemoMember, ...], Prediction]:
    """Score every checkpoint, store every item, and forecast the hidden member from the others."""
    report = evaluate(
        [CheckpointRequest(source=str(path), model=path.parent.name) for path in checkpoints],
        tasks=[TASK_NAME],
        db=db,
        include_path=files.tasks,
        dtype="float32",
        device="cpu",
        progress=progress,
    )
    report.raise_failures()
    found = predict(db, tasks=[TASK_NAME], family=family, holdout=hidden, metric="acc", seed=seed, progress=progress)[0]
    return _describe(report.rows, hidden), found


def _prepare_world(root: Path, seed: int, largest: MemberRecipe, items: int | None, progress: Progress) -> DemoFiles:
    """Write the world unless an earlier run did."""
    from forecast.training.demo_files import ITEMS

    tokens = largest.tokens + _SPARE_TOKENS
    wanted = {"seed": seed, "tokens": tokens, "items": items or ITEMS, "folder": str(root.resolve())}
    mark = root / "world" / "complete.json"
    with progress.stage("world", 1, "worlds") as bar:
        if mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == wanted:
            bar.advance()
            return demo_paths(root)
        files = write_world(make_world(seed), root, tokens=tokens, items=items or ITEMS)
        mark.write_text(json.dumps(wanted) + "\n", encoding="utf-8")
        bar.advance()
    return files


def _describe(rows: tuple[dict[str, object], ...], hidden: str) -> tuple[DemoMember, ...]:
    members = [
        DemoMember(
            model=str(row["model"]),
            params=int(_number(row, "params")),
            tokens=int(_number(row, "tokens")),
            flops=_number(row, "flops"),
            acc=_number(row, "acc"),
            nll_per_char=_number(row, "nll_per_char"),
            hidden=row["model"] == hidden,
        )
        for row in rows
    ]
    return tuple(sorted(members, key=lambda member: member.flops))


def _number(row: dict[str, object], name: str) -> float:
    value = row.get(name)
    if not isinstance(value, int | float):
        raise InputError(f"the stored results have no {name} ({value!r})", expected="a number")
    return float(value)
