"""How sure a fit's constants are: which interval is taken when, and what a reader should know of it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from forecast.core.errors import FitError
from forecast.laws.bootstrap import MIN_REPLICATES, Bootstrap, bootstrap
from forecast.laws.profile import normal_interval, profile_interval
from forecast.laws.result import FitResult

_FEW_RUNS = 15
_MANY_ROWS = 20_000
"""With more runs than this the sandwich's intervals are those of a profile or a bootstrap, at a thousandth of the cost."""
_CELLS = 50_000_000
"""Bootstrap replicates x rows that are held in memory."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """One fitted parameter. Numbers are None where it is not identified; the standard error is 0 where it was fixed."""

    name: str
    meaning: str
    value: float | None
    standard_error: float | None
    lo: float | None
    hi: float | None
    role: str
    """`free`, `fixed` or `soft`."""


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """Every constant of a fit with its error and interval."""

    constants: tuple[Constant, ...]
    method: str
    """How errors and intervals were found."""
    replicates: Bootstrap | None
    """None where errors are not by the bootstrap."""
    warnings: tuple[str, ...]


def quantify(result: FitResult, *, runs: Sequence[Hashable], level: float, replicates: int, seed: int) -> Uncertainty:
    """Add errors and intervals to a fit.

    Args:
        result: the fit.
        runs: training run of each row.
        level: nominal coverage of the intervals.
        replicates: of a bootstrap over runs; 0, or fewer than 15 runs of one row each, takes profiles and the sandwich.
        seed: of the bootstrap.
    """
    drawn, warnings = _replicates(result, runs, replicates, seed)
    if drawn is not None:
        method = f"bootstrap over {drawn.blocks} runs, {len(drawn.theta)} replicates"
    else:
        method = "sandwich and profile" if len(runs) <= _MANY_ROWS else "sandwich"
    warnings += [
        f"{name} is at the end of its domain: its error and interval see one side only"
        for name in result.at_bound
        if name not in result.unidentified
    ]
    constants = tuple(_constant(result, drawn, name, level) for name in result.law.names)
    return Uncertainty(constants=constants, method=method, replicates=drawn, warnings=tuple(warnings))


def _replicates(result: FitResult, runs: Sequence[Hashable], replicates: int, seed: int) -> tuple[Bootstrap | None, list[str]]:
    """Bootstrap where it serves, and what to say of it."""
    rows, distinct = len(runs), len(set(runs))
    # With few runs of one row each, profiles cover within two points and the bootstrap is too wide (docs/laws.md).
    several = rows > distinct
    wanted = min(replicates, max(_CELLS // rows, MIN_REPLICATES))
    if wanted <= 0 or distinct < max(3, len(result.free)) or not (several or _FEW_RUNS <= distinct <= _MANY_ROWS):
        return None, []
    warnings = []
    if wanted < replicates:
        warnings.append(f"{wanted} instead of {replicates} bootstrap replicates: there are {rows:,} rows")
    try:
        drawn = bootstrap(result, replicates=wanted, blocks=runs, seed=seed)
    except FitError as error:
        return None, [*warnings, f"no bootstrap: {error}"]
    if drawn.failed:
        warnings.append(f"{drawn.failed} of {drawn.requested} bootstrap replicates could not be fitted")
    return drawn, warnings


def _constant(result: FitResult, replicates: Bootstrap | None, name: str, level: float) -> Constant:
    parameter = result.law.parameters[result.law.names.index(name)]
    role = "fixed" if name in result.constraints.fixed else "soft" if name in result.constraints.soft else "free"
    if name in result.unidentified:
        return Constant(name=name, meaning=parameter.meaning, value=None, standard_error=None, lo=None, hi=None, role=role)
    value = result.params[name]
    if role == "fixed":
        return Constant(name=name, meaning=parameter.meaning, value=value, standard_error=0.0, lo=value, hi=value, role=role)
    if replicates is not None:
        error = replicates.standard_errors()[name]
        lo, hi = replicates.interval(name, level)
    else:
        error = result.standard_errors[name]
        interval = profile_interval if len(result.residuals) <= _MANY_ROWS else normal_interval
        lo, hi = interval(result, name, level=level)
    return Constant(name=name, meaning=parameter.meaning, value=value, standard_error=error, lo=lo, hi=hi, role=role)
