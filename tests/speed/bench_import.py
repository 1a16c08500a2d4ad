"""Speed of importing a table, run by hand: `python tests/speed/bench_import.py [--rows 1000000] [--folder DIR]`.

A CSV of that many observations is imported, imported again, and read for a fit, each in a process of its own; CPU time, wall
time and peak memory are printed with the machine's load. Reading by columns is set against reading row by row, as a ratio.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HEADER = "family,model,task,params,tokens,flops,step,acc,acc_norm,loss,n_items,is_final,seed"

STEPS = {
    "import": """
from forecast.core.progress import SilentProgress
from forecast.api.ingest import import_paths
import_paths([table], db=table.with_suffix(".duckdb"), progress=SilentProgress())
""",
    "rows for a fit": "from forecast.importers import read_observations; read_observations(table)",
    "by columns": "from forecast.importers.observations import read_observation_table; read_observation_table(table)",
    "row by row": """
from forecast.importers import csv_tables, observation_blocks, observations
csv_tables._ODD = ("",)
observation_blocks.read_block = lambda *_arguments: None
observations.read_observation_table(table)
""",
}


def write_table(path: Path, rows: int) -> Path:
    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as out:
        out.write(HEADER + "\n")
        for n in range(rows):
            params, step = 10.0 ** (7 + n % 400 / 100), 1000 * (1 + n // 400 % 250)
            tokens = step * 2_097_152
            numbers = ",".join(f"{value:.6f}" for value in rng.random(3))
            final = "true" if step == 250_000 else "false"
            out.write(
                f"fam{n % 20},m{n % 400},task{n // 100_000},{params:.0f},{tokens},{6 * params * tokens:.6g},{step},"
                f"{numbers},1000,{final},{n % 7}\n"
            )
    return path


def measure(what: str, name: str, table: Path) -> float:
    """Run a step in a process of its own, print what it cost and return its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    code = f"from pathlib import Path\ntable = Path({str(table)!r})\n{STEPS[name]}\nimport resource\n"
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{what}: {wall:.1f} s, {busy:.1f} s of CPU, at most {float(done.stdout.split()[-1]):.2f} GiB")
    return busy


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--slow-rows", type=int, default=20_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        table = write_table(Path(name) / "runs.csv", options.rows)
        print(f"{options.rows:,} rows, {table.stat().st_size / 2**20:.0f} MiB")
        measure("imported", "import", table)
        measure("imported again", "import", table)
        measure("read for a fit", "rows for a fit", table)
        short, empty = write_table(Path(name) / "short.csv", options.slow_rows), write_table(Path(name) / "one.csv", 1)
        start = measure("start of a process", "by columns", empty)
        fast, slow = (
            measure(f"{options.slow_rows:,} rows {kind}", kind, short) - start for kind in ("by columns", "row by row")
        )
        print(f"row by row takes {slow / fast:.1f} times as long")


if __name__ == "__main__":
    main()
