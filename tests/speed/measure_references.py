"""How far forecasts with references are off for families that are left out, and how long fitting and asking take.

Run by hand: `python tests/speed/measure_references.py TABLE [TASKS]`, TABLE an observation table of several families.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from forecast.api.family_backtest import backtest_families
from forecast.observations.reference_runs import library_runs


def main() -> None:
    """Print the time the library takes to load, and the back-test's summary."""
    start = time.perf_counter()
    library_runs()
    print(f"library: {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    report = backtest_families(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
    for score in report.scores:
        own = "" if score.own_mae is None or score.mae_beside_own is None else f", own {100 * score.own_mae:.2f}"
        beside = "" if score.mae_beside_own is None else f" against {100 * score.mae_beside_own:.2f}"
        coverage = " and ".join(f"{share:.0%}" for share in score.coverage)
        print(
            f"{score.task}, {score.runs_fitted} runs, {score.forecasts}: MAE {100 * score.mae:.2f} (persistence"
            f" {100 * score.persistence_mae:.2f}), CRPS {100 * score.crps:.2f}, covered {coverage}{own}{beside}"
        )
    print(f"back-test: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
