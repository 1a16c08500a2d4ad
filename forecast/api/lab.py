"""The front door: one object over a results file or a table, one method for each verb of the command line.

>>> import forecast
>>> forecast.open("results.duckdb")
<Lab results.duckdb (does not exist yet)>
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from forecast.api import comparing, exchange, verbs
from forecast.api.item_comparison import compare_items
from forecast.api.notices import WarningProgress
from forecast.api.relation import Relation
from forecast.core.errors import InputError, UsageError
from forecast.core.forecasts import Forecast, Target
from forecast.core.names import read_names
from forecast.core.observations import Ladder

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure

    from forecast.api.evaluate import EvaluationReport
    from forecast.api.predict import Prediction

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, repr=False)
class DrawnForecast(Forecast):
    """A forecast with the runs it was fitted on, so that it can be drawn."""

    fitted: Ladder = field(compare=False, metadata={"plain": False})
    held_out: Ladder | None = field(default=None, compare=False, metadata={"plain": False})

    def plot(self) -> Figure:
        """Return the forecast as a matplotlib Figure: one panel per step, and compute to accuracy."""
        from forecast.report.forecast_figure import forecast_figure

        return forecast_figure(self.fitted, self, held_out=self.held_out)


def _of_lab(verb: Callable[Concatenate[str | Path, P], R]) -> Callable[Concatenate[Lab, P], R]:
    """Make a method of a verb: the Lab's path is its source."""

    def method(lab: Lab, /, *args: P.args, **options: P.kwargs) -> R:
        return verb(lab.path, *args, **options)

    functools.update_wrapper(method, verb)
    return method


class Lab:
    """A results file (DuckDB) or a table of observations (CSV, Parquet), and everything that can be asked of it."""

    def __init__(self, path: str | Path) -> None:
        """Name the path; a results file that does not exist yet is made by the first evaluation or import."""
        self.path = Path(path).expanduser()

    def __repr__(self) -> str:
        """Path, and whether it exists."""
        return f"<Lab {self.path}{'' if self.path.exists() else ' (does not exist yet)'}>"

    # What is stored.

    def sql(self, query: str) -> Relation:
        """Ask one read-only question in SQL; rows are read when they are first looked at."""
        from forecast.api.database import run_query

        return Relation(lambda: run_query(self.path, query))

    def scores(self) -> Relation:
        """Return one row per run and task: every metric's mean with its standard error."""
        return self._view("scores")

    def observations(self) -> Relation:
        """Return what laws are fitted on: rows derived from stored items, and imported ones; of a table, its rows."""
        from forecast.importers.tables import is_table

        return Relation(self._rows_of_table, title="observations") if is_table(self.path) else self._view("observations")

    def items(self) -> Relation:
        """Return one row per run and item: loglikelihood metrics and whether the answer was right."""
        return self._view("item_metrics")

    def _view(self, name: str) -> Relation:
        from forecast.api.database import run_query

        return Relation(lambda: run_query(self.path, f"FROM {name}"), title=name)

    def _rows_of_table(self) -> Iterator[pa.RecordBatch]:
        from forecast.importers.observations import read_observation_table

        yield from read_observation_table(self.path, notice=WarningProgress().notice).batches

    # What fills it.

    def evaluate(
        self,
        family: str | None = None,
        *,
        models: str | Sequence[str | Path] = (),
        tasks: str | Sequence[str] = (),
        sizes: str = "",
        revisions: str = "final",
        subset: str = "",
        cache_limit: str | None = None,
        trust_remote_code: str | Sequence[str] = (),
        **options: Any,
    ) -> EvaluationReport:
        """Score a family's checkpoints, or single models, on tasks; what is stored is not computed again.

        Args:
            family: name of a card, e.g. `pythia`.
            models: folders or hub ids with an optional `@revision`, as a list or separated by commas.
            tasks: lm-eval task, group or tag names, as a list or separated by commas.
            sizes: which models of the family, e.g. `70m..1.4b`.
            revisions: which checkpoints of each, e.g. `final`, `log:12`.
            subset: part of a family that has parts.
            cache_limit: most bytes that downloads may hold, e.g. `20GB`.
            trust_remote_code: hub ids or folders whose own Python files may run.
            options: others of `forecast.evaluate` (num_fewshot, limit, device, ...).

        Returns:
            A report whose `check()` raises what failed.

        Raises:
            UsageError: an unknown name, or nothing to do.
            InputError: a folder or a task's data is missing or malformed.
        """
        from forecast.api.checkpoints import open_fetcher, select
        from forecast.api.evaluate import evaluate

        names = read_names("models", models) or () if isinstance(models, str) else models
        requests = select(family=family, models=names, sizes=sizes, revisions=revisions, subset=subset)
        progress = WarningProgress()
        fetcher = open_fetcher(progress=progress, cache_limit=cache_limit, trust_remote_code=trust_remote_code)
        report = evaluate(requests, tasks=tasks, db=self.path, fetcher=fetcher, progress=progress, **options)
        for sentence in report.missing:
            progress.notice(sentence)
        return report

    import_ = _of_lab(exchange.import_)
    export = _of_lab(exchange.export)

    # What it says of larger models.

    def predict(
        self,
        task: str | Sequence[str] | None = None,
        *,
        params: float | None = None,
        tokens: float | None = None,
        flops: float | None = None,
        targets: Sequence[Target] = (),
        holdout: str | None = None,
        **options: Any,
    ) -> DrawnForecast | list[DrawnForecast]:
        """Forecast accuracy and NLL: one forecast for one question, a list for several tasks or targets.

        Args:
            task: benchmark, or several; None takes all that are stored.
            params: parameters of the model to forecast, with `tokens`.
            tokens: its training tokens.
            flops: its training FLOPs, alone or beside the two.
            targets: several models instead.
            holdout: a stored run to hide and forecast.
            options: others of `forecast.predict` (family, level, method, metric, num_fewshot, chance, seed, ...).

        Returns:
            Accuracies as fractions, with a central interval and a verdict; `plot()` draws one.

        Raises:
            UsageError: an unknown name, a number out of range, or nothing to forecast.
            NotForecastableError: too little to fit; of several tasks, on every one of them.
        """
        from forecast.api.predict import predict

        progress = WarningProgress()
        wanted = list(targets)
        if params is not None or tokens is not None or flops is not None:
            wanted.append(Target(name=_target_name(params, flops), params=params, tokens=tokens, flops=flops))
        names = read_names("task", task)
        one = names is not None and len(names) == 1 and len(wanted) + (holdout is not None) == 1
        found = predict(
            self.path,
            tasks=names,
            targets=wanted,
            holdout=holdout,
            progress=progress,
            on_failure=None if one else lambda name, error: progress.notice(f"{name} cannot be forecast: {error}"),
            **options,
        )
        drawn = [_drawn(entry) for entry in found]
        return drawn[0] if one else drawn

    emergence = _of_lab(verbs.emergence)
    backtest = _of_lab(verbs.backtest)

    # Laws over what is stored.

    fit = _of_lab(verbs.fit_law)
    optimal = _of_lab(verbs.optimal)
    plan = _of_lab(verbs.plan)

    def compare(
        self,
        family_a: str | None = None,
        family_b: str | None = None,
        *,
        items: str | Sequence[str] | None = None,
        shots: Sequence[int] | None = None,
        tasks: str | Sequence[str] | None = None,
        **options: Any,
    ) -> Any:
        """Compare two families; or models on the same items, or two ways of asking one family.

        Args:
            family_a: family whose level is to be equalled.
            family_b: family that has to equal it.
            items: models instead, compared on the items that both of each pair answered.
            shots: two numbers of examples: what the second gains over the first.
            tasks: two tasks whose difference is the gain; with `items` those to compare on.
            options: others of `forecast.compare`, `forecast.compare_items` or `forecast.compare_ways`.

        Returns:
            A `Comparison`; with `items` a list of `ItemComparison`; with `shots` or two `tasks` an `ExampleGain`.

        Raises:
            UsageError: neither two families nor one of the others.
        """
        if items is not None:
            return compare_items(self.path, items, tasks=tasks, **options)
        if shots is not None or tasks is not None:
            return comparing.compare_ways(self.path, shots=shots, tasks=tasks, **options)
        if family_a is None or family_b is None:
            raise UsageError("not two families", expected="families A and B, or `items=`, `shots=` or `tasks=`")
        return comparing.compare(self.path, family_a, family_b, **options)

    compare_items = _of_lab(compare_items)

    def report(self, out: str | Path = "forecast-report.html", **options: Any) -> Path:
        """Write one self-contained HTML page over everything stored, and return its path.

        Args:
            out: HTML file to write; it appears whole or not at all.
            options: others of `forecast.write_report` (tasks, families, flops, level, ...).
        """
        from forecast.api.report import write_report

        write_report(self.path, out, progress=WarningProgress(), **options)
        return Path(out)


def open(path: str | Path) -> Lab:  # noqa: A001  # read as forecast.open
    """Open a results file or a table of observations; nothing is read or made yet.

    Args:
        path: results file (DuckDB), or CSV, CSV.gz or Parquet table of observations.

    Returns:
        A Lab: everything that the command line does, as methods. Notices come as Python warnings.

    Raises:
        UsageError: `path` is not a path.
        InputError: it is a folder.
    """
    if not isinstance(path, str | Path) or not str(path).strip():
        raise UsageError(f"`path=` is {path!r}", expected="a str or a Path")
    lab = Lab(path)
    if lab.path.is_dir():
        raise InputError(f"{path} is a folder", expected="a results file or a table of observations", argument="path")
    return lab


def _target_name(params: float | None, flops: float | None) -> str:
    """Name a target by its size.

    >>> _target_name(12e9, None), _target_name(1.4e9, None), _target_name(None, 1e24)
    ('12b', '1.4b', '1e+24 FLOPs')
    """
    if params is None or not params > 0:
        return "target" if flops is None else f"{flops:.3g} FLOPs"
    for size, letter in ((1e12, "t"), (1e9, "b"), (1e6, "m"), (1e3, "k")):
        if params >= size:
            return f"{params / size:.4g}{letter}"
    return f"{params:g}"


def _drawn(entry: Prediction) -> DrawnForecast:
    values = {column.name: getattr(entry.forecast, column.name) for column in fields(Forecast)}
    return DrawnForecast(**values, fitted=entry.fitted, held_out=entry.held_out)
