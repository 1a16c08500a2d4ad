"""What an import changes and what it leaves out: counted, named, all or nothing, whatever interrupts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from forecast.api.ingest import ImportReport, describe, import_paths
from forecast.core.errors import ForecastError, InputError, PartialResultError, StoreError, UsageError
from forecast.core.progress import SilentProgress
from forecast.store import Store

TABLE = "family,model,task,params,tokens,acc\nf,small,t,1e8,2e9,0.3\nf,large,t,1e9,2e10,0.5\n"


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def results(acc: object = 0.4, *, model: str = "x/tiny-10m", **tasks: dict[str, object]) -> str:
    found = {"arc": {"acc": acc, "acc_stderr": 0.01}, **tasks}
    return json.dumps({"results": found, "versions": {}, "config": {"model": "hf", "model_args": f"pretrained={model}"}})


def run(db: Path, *paths: Path) -> tuple[ImportReport, list[str]]:
    progress = SilentProgress()
    return import_paths(paths, db=db, progress=progress), progress.notices


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.added, report.replaced, report.unchanged, report.removed


def stored(db: Path) -> list[tuple[str, float]]:
    found = Store(db).query("SELECT task, acc FROM observations ORDER BY ALL")
    return [(row["task"], row["acc"]) for batch in found for row in batch.to_pylist()]


def test_tables_of_one_name_in_two_folders(tmp_path: Path) -> None:
    db = tmp_path / "r.duckdb"
    first = put(tmp_path / "a" / "runs.csv", TABLE)
    second = put(tmp_path / "b" / "runs.csv", TABLE.replace("0.3", "0.35"))
    assert counts(run(db, first)[0]) == counts(run(db, second)[0]) == (2, 0, 0, 0)
    assert len(stored(db)) == 4
    copy = put(tmp_path / "c" / "copy.csv", TABLE)
    report, notices = run(db, copy)
    assert (counts(report), report.tables[0].same_as) == ((0, 0, 2, 0), str(first))
    assert notices == [f"{copy}: its 2 rows are stored already, from {first}; they count once"]
    link = tmp_path / "link.csv"
    link.symlink_to(first)
    put(first, TABLE.replace("0.5", "0.55"))
    report, notices = run(db, link)
    assert counts(report) == (0, 1, 1, 0)
    assert notices == [f"{link} was imported before and has changed: 0 rows added, 1 replaced, 1 unchanged, 0 removed"]
    assert len(stored(db)) == 4


def test_a_file_counts_once_however_it_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put(Path("a/runs.csv"), TABLE)
    put(Path("a/results_1.json"), results())
    paths = (Path("a/runs.csv"), Path("a/../a/runs.csv"), Path("a"), tmp_path / "a/results_1.json")
    report, _ = run(Path("r.duckdb"), *paths)
    assert (report.files, counts(report)) == (2, (3, 0, 0, 0))


def test_rows_without_a_measurement_and_repeats_are_in_the_report(tmp_path: Path) -> None:
    path = put(tmp_path / "runs.csv", TABLE + TABLE.splitlines()[1] + "\nf,none,t,1e9,2e10,\n")
    report, notices = run(tmp_path / "r.duckdb", path)
    assert (report.tables[0].unmeasured, report.tables[0].repeated, report.observations) == (1, 1, 2)
    assert len(notices) == 2


def test_aggregates_of_one_file_are_replaced_and_of_two_files_refused(tmp_path: Path) -> None:
    db = tmp_path / "r.duckdb"
    first = put(tmp_path / "a" / "results_1.json", results(0.4, piqa={"acc": 0.7}))
    assert counts(run(db, first)[0]) == (2, 0, 0, 0)
    same = put(tmp_path / "b" / "results_2.json", results(0.4))
    assert counts(run(db, same)[0]) == (0, 0, 1, 0)
    other = put(tmp_path / "c" / "results_1.json", results(0.5))
    with pytest.raises(InputError, match=rf"tiny-10m has other results on arc than {first}.*`model=` and `step=`; nothing"):
        run(db, other)
    with pytest.raises(InputError, match="has other results on arc"):
        run(tmp_path / "new.duckdb", first, other)
    assert stored(db) == [("arc", 0.4), ("piqa", 0.7)]
    put(first, results(0.45, sciq={"acc": 0.8}))
    report, notices = run(db, first)
    assert counts(report) == (1, 1, 0, 1)
    assert "1 aggregates added, 1 replaced, 0 unchanged, 1 removed" in notices[-1]
    assert stored(db) == [("arc", 0.45), ("sciq", 0.8)]
    assert counts(run(db, first)[0]) == (0, 0, 2, 0)
    put(first, results(0.4, sciq={"acc": 0.8}))
    run(db, first)
    assert stored(db) == [("arc", 0.4), ("sciq", 0.8)]


def test_what_the_user_says_better_replaces_what_was_known(tmp_path: Path) -> None:
    db = tmp_path / "r.duckdb"
    path = put(tmp_path / "results_1.json", results(0.4))
    for tokens in (2e9, 3e9):
        report = import_paths([path], db=db, described=describe(params=1e7, tokens=tokens), progress=SilentProgress())
    assert counts(report) == (0, 1, 0, 0)
    assert stored(db) == [("arc", 0.4)]


def test_aggregates_stored_by_an_earlier_version_are_recognised(tmp_path: Path) -> None:
    db = tmp_path / "r.duckdb"
    path = put(tmp_path / "results_1.json", results(0.4))
    run(db, path)
    # That version kept the file's name alone.
    forget = "UPDATE imported_observations SET metadata = json_merge_patch(metadata, '{\"path\": null}')"
    list(Store(db).execute(forget))
    assert counts(run(db, path)[0]) == (0, 0, 1, 0)
    put(path, results(0.5))
    assert counts(run(db, path)[0]) == (0, 1, 0, 0)
    assert stored(db) == [("arc", 0.5)]


def test_values_that_are_no_numbers_are_named_or_refused(tmp_path: Path) -> None:
    tasks: dict[str, dict[str, object]] = {
        "written": {"acc": "0.5", "acc_stderr": "N/A", "alias": "x"},
        "absent": {"acc": "N/A", "acc_norm": 0.3, " ": " "},
        "null": {"acc": None, "perplexity": float("inf")},
        "filters": {"exact_match,strict-match": 0.1, "exact_match,flexible-extract": 0.2, "acc": 0.1},
        "equal": {"acc,none": 0.1, "acc,strict": 0.1},
    }
    report, notices = run(tmp_path / "r.duckdb", put(tmp_path / "results_1.json", results(**tasks)))
    assert report.observations == 5
    assert report.left_out == (
        "results_1.json: absent: not kept are acc (it is 'N/A')",
        "results_1.json: filters: not kept are exact_match"
        " (the value of filter flexible-extract is used instead of strict-match)",
        "results_1.json: null: not kept are acc (it is 'None'); perplexity (it is inf)",
    )
    assert set(report.left_out) <= set(notices)
    assert ("written", 0.5) in stored(tmp_path / "r.duckdb")
    for text in ("half", "0,5", "63%", [0.5], {"value": 0.5}):
        path = put(tmp_path / "results_2.json", results(text))
        with pytest.raises(InputError, match=r"results_2.json: acc of arc is .*; expected a number, or N/A"):
            run(tmp_path / "r.duckdb", path)
    with pytest.raises(InputError, match="acc of arc is nan"):
        run(tmp_path / "r.duckdb", put(tmp_path / "results_2.json", results("nan")))


def test_samples_that_nothing_speaks_of_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    put(folder / "results_1.json", results())
    put(folder / "samples_other_1.jsonl", "{}\n")
    put(folder / "samples_lost_2.jsonl", "{}\n")
    put(folder / "table.csv", TABLE)
    put(folder / "notes.json", "{}")
    put(folder / "broken.json", "{")
    report, _ = run(tmp_path / "r.duckdb", folder)
    assert report.left_out == (
        f"{folder}: 2 JSON files are not lm-eval results and are left out: broken.json, notes.json",
        f"{folder}: 1 tables are left out; name them to import them: table.csv",
        f"{folder}: 1 samples files have no results file next to them and are left out: samples_lost_2.jsonl",
        "samples_other_1.jsonl is left out: results_1.json has no results for its task",
    )
    report.raise_if_partial()


def test_a_broken_file_in_a_folder_stops_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    put(folder / "a" / "results_1.json", results())
    put(folder / "b" / "results_2.json", results()[:50])
    put(folder / "c" / "old_style.json", '{"results": {"arc"')
    put(folder / "d" / "results_3.json", results(63.0, model="x/other"))
    os.mkfifo(folder / "results_9.json")
    report, _ = run(tmp_path / "r.duckdb", folder)
    assert [entry.path.name for entry in report.failed] == ["results_2.json", "old_style.json", "results_3.json"]
    with pytest.raises(PartialResultError, match=r"3 file\(s\) cannot be read, the others are imported.*results_2.json.*63"):
        report.raise_if_partial()
    assert stored(tmp_path / "r.duckdb") == [("arc", 0.4)]
    for path in (folder / "b", folder / "b" / "results_2.json"):
        with pytest.raises(InputError, match=r"results_2.json"):
            run(tmp_path / "new.duckdb", folder / "a" / "results_1.json" if path.is_file() else path, path)
    assert not (tmp_path / "new.duckdb").exists()


@pytest.mark.parametrize("name", ["params", "tokens", "flops", "step"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1])
def test_numbers_that_cannot_be_are_usage_errors(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"`{name}=` is .*finite number"):
        describe(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"flops": 1e308}, "`flops=` is 1e"),
        ({"params": 7}, "`params=` is 7"),
        ({"params": 1e9, "tokens": 2e10, "flops": 0}, "`flops=` is 0"),
        ({"params": 1e9, "tokens": 2e10, "flops": 1.2e26}, "6 x params x tokens is 1.2e"),
        ({"params": 1e9 + 0.5}, "a whole number"),
    ],
)
def test_options_of_another_scale_are_usage_errors(said: dict[str, float], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        describe(**said)  # type: ignore[arg-type]


def test_a_file_whose_numbers_contradict_the_options_is_refused(tmp_path: Path) -> None:
    text = json.loads(results())
    text["config"]["model_num_parameters"] = 10**9
    path = put(tmp_path / "results_1.json", json.dumps(text))
    with pytest.raises(InputError, match=r"results_1.json: tiny-10m: flops is 1e\+26, but 6 x params x tokens"):
        import_paths([path], db=tmp_path / "r.duckdb", described=describe(tokens=2e10, flops=1e26), progress=SilentProgress())


IMPORT = """
import sys, time
from pathlib import Path
from forecast.core.progress import SilentProgress
from forecast.store import import_tables, imports
from forecast.api import ingest
where, db, *paths = sys.argv[1:]
def stop(*_arguments, **_options):
    Path(db + ".reached").touch()
    time.sleep(120)
if where == "reading":
    ingest.refuse_other_answers = stop
elif where == "storing":
    imports.ingest = stop
elif where == "last":
    take = imports.take_table
    imports.take_table = lambda *arguments: (take(*arguments), stop())
ingest.import_paths([Path(path) for path in paths], db=Path(db), progress=SilentProgress())
"""


def start(where: str, db: Path, *paths: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", IMPORT, where, str(db), *map(str, paths)], stderr=subprocess.DEVNULL)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60.0
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("where", ["reading", "storing", "last"])
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_import_leaves_the_file_as_it_was(tmp_path: Path, where: str, kill: int) -> None:
    db = tmp_path / "r.duckdb"
    run(db, put(tmp_path / "before.csv", TABLE))
    before = Store(db).info().imported_observations
    table = put(tmp_path / "before.csv", TABLE.replace("0.5", "0.55"))
    evaluation = put(tmp_path / "results_1.json", results())
    process = start(where, db, table, evaluation)
    wait_for((tmp_path / "r.duckdb.reached").exists, process)
    process.send_signal(kill)
    assert process.wait(timeout=60) != 0
    assert stored(db) == [("t", 0.3), ("t", 0.5)]
    assert Store(db).info().imported_observations == before
    assert not list(tmp_path.glob("*.spool/*"))
    report, _ = run(db, table, evaluation)
    assert counts(report) == (1, 1, 1, 0)
    assert Store(db).problems() == []


def test_what_a_killed_import_left_is_cleared_in_time(tmp_path: Path) -> None:
    left = tmp_path / ".r.duckdb.import-1-a"
    put(left / "table.0.parquet", "x")
    put(tmp_path / "runs.csv", TABLE)
    run(tmp_path / "r.duckdb", tmp_path / "runs.csv")
    assert left.is_dir()
    os.utime(left, (0, 0))
    run(tmp_path / "r.duckdb", tmp_path / "runs.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.duckdb", "runs.csv"]


def test_two_imports_at_once_both_finish(tmp_path: Path) -> None:
    db = tmp_path / "r.duckdb"
    tables = [put(tmp_path / f"{n}.csv", TABLE.replace("0.3", f"0.3{n}")) for n in range(3)]
    processes = [start("nowhere", db, table) for table in tables]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert len(stored(db)) == 6
    assert Store(db).problems() == []


def test_a_file_that_stays_locked_is_one_line_and_nothing_waits_beside_it(tmp_path: Path) -> None:
    import duckdb

    db = tmp_path / "r.duckdb"
    run(db, put(tmp_path / "runs.csv", TABLE))
    with duckdb.connect(str(db)), Store(db, timeout_s=0.1).importing() as job, pytest.raises(StoreError) as caught:
        job.commit()
    assert "close that program and run the command again; nothing was imported" in str(caught.value)
    assert isinstance(caught.value, ForecastError)
