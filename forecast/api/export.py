"""Results in other people's forms: Parquet for everybody, CSV, lm-eval's results files, the hub's evaluation entries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from forecast.core.errors import InputError, StoreError, UsageError
from forecast.core.metrics import ACCURACY_METRICS
from forecast.core.whole_files import replacing

FORMATS = ("parquet", "csv", "lm-eval", "eval-results")


def export_store(db: Path, destination: Path, *, form: str) -> list[Path]:
    """Export results and return the files written; `destination` is a folder, for `csv` a file.

    Raises:
        UsageError: unknown form.
        InputError: nothing to export, or the destination is in use.
        StoreError: no results file, or the destination cannot be written.
    """
    from forecast.store import Store

    writers: Mapping[str, Callable[[Store, Path], list[Path]]] = {
        "parquet": lambda store, folder: store.export(folder),
        "csv": _write_csv,
        "lm-eval": _write_lmeval,
        "eval-results": _write_eval_results,
    }
    if form not in writers:
        raise UsageError(f"{form!r} is not an export format", expected="one of " + ", ".join(FORMATS))
    try:
        return writers[form](Store(db), destination)
    except OSError as error:
        raise StoreError(
            f"{destination} cannot be written: {error.strerror or error}", remedy="choose another place"
        ) from error


def is_export(path: Path) -> bool:
    """Tell whether a folder was written by `forecast export --format parquet`."""
    from forecast.store.transfer import is_export as check

    return check(path)


def _rows(db_rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if not db_rows:
        raise InputError("nothing is stored yet", expected="at least one scored checkpoint", remedy="run `forecast eval` first")
    return [dict(row) for row in db_rows]


def _write_csv(store: Any, path: Path) -> list[Path]:
    import csv

    rows = _rows(store.score_rows())
    _write_text(path, lambda stream: csv.DictWriter(stream, list(rows[0]), lineterminator="\n"), rows)
    return [path]


def _write_text(path: Path, open_writer: Callable[[Any], Any], rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = open_writer(stream)
        writer.writeheader()
        writer.writerows({name: repr(cell) if isinstance(cell, float) else cell for name, cell in row.items()} for row in rows)


def _complete(store: Any) -> list[dict[str, Any]]:
    return [row for row in _rows(store.score_rows()) if row["n_items"] == row["n_items_expected"]]


def _write_lmeval(store: Any, folder: Path) -> list[Path]:
    """One results file per checkpoint, number of shots, precision and scorer, in lm-eval 0.4's outline."""
    groups: dict[tuple[str, str, str, str, str], list[dict[str, Any]]] = {}
    for row in _complete(store):
        key = (row["checkpoint_id"], str(row["num_fewshot"]), row["dtype"], row["backend"], str(row["item_limit"]))
        groups.setdefault(key, []).append(row)
    dates = _start_dates(store)
    written = []
    for key, members in sorted(groups.items(), key=lambda entry: entry[0]):
        rows = sorted(members, key=lambda row: str(row["task"]))
        limit = "" if rows[0]["item_limit"] is None else f"limit{rows[0]['item_limit']}"
        name = "_".join(
            part for part in (rows[0]["revision"].replace("/", "-"), f"{key[1]}shot", limit, key[2], key[0][:8]) if part
        )
        path = folder / rows[0]["model"].replace("/", "__") / f"results_{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(_lmeval_content(rows, dates), indent=2, ensure_ascii=False, allow_nan=False)
        with replacing(path) as partial:
            partial.write_text(content + "\n", encoding="utf-8")
        written.append(path)
    return written


def _start_dates(store: Any) -> dict[str, str]:
    from forecast.store.named_queries import RUN_STARTS

    return {row["run_id"]: row["started_at"] for row in store.rows(RUN_STARTS)}


def _lmeval_content(rows: Sequence[Mapping[str, Any]], dates: Mapping[str, str]) -> dict[str, Any]:
    results, shots, counts = {}, {}, {}
    for row in rows:
        task = row["task"]
        stated: dict[str, Any] = {"alias": task}
        for name in (*ACCURACY_METRICS, "bits_per_byte", "nll_per_char", "nll_choice_norm", "p_gold"):
            if row[name] is not None:
                stated[f"{name},none"] = row[name]
                stated[f"{name}_stderr,none"] = row[f"{name}_sem"] if row[f"{name}_sem"] is not None else "N/A"
        results[task] = stated
        shots[task] = row["num_fewshot"]
        original = row["n_items_expected"] if row["item_limit"] is None else None
        counts[task] = {"original": original, "effective": row["n_items"]}
    first = rows[0]
    arguments = {"pretrained": first["model"], **({"revision": first["revision"]} if first["revision"] else {})}
    return {
        "results": results,
        "versions": {row["task"]: None for row in rows},
        "n-shot": shots,
        "n-samples": counts,
        "config": {
            "model": str(first["backend"]).removeprefix("lm-eval:"),
            "model_args": arguments,
            "model_num_parameters": first["params"],
            "model_dtype": first["dtype"],
            "model_revision": first["revision"] or "main",
            "limit": first["item_limit"],
        },
        "date": min((dates.get(str(row["run_id"]), "") for row in rows), default=""),
        "model_source": first["backend"],
        "model_name": first["model"],
    }


def _place(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["model"], row["task"], f"{row['num_fewshot']:06d}", row["run_id"]


def _write_eval_results(store: Any, folder: Path) -> list[Path]:
    """One file per model and task, as the hub reads them from `.eval_results/` in a model's repository."""
    from forecast.catalog.benchmarks import load_benchmarks

    cards = {name: card for card in load_benchmarks() for name in (card.name, card.lm_eval_task) if name}
    written: dict[Path, list[dict[str, Any]]] = {}
    for row in sorted(_complete(store), key=_place):
        card = cards.get(row["task"])
        # The hub files an entry under its data set's id, which only a card can tell.
        if card is None or not card.dataset or not row["is_final"] or row.get(card.accuracy_metric) is None:
            continue
        metric = card.accuracy_metric
        notes = f"{metric} as a fraction, {row['num_fewshot']}-shot, {row['n_items']} items, {row['dtype']}, {row['backend']}"
        entry = {"dataset": {"id": card.dataset, "task_id": row["task"]}, "value": row[metric], "notes": notes}
        path = folder / row["model"].replace("/", "__") / ".eval_results" / f"{row['task'].replace('/', '__')}.yaml"
        written.setdefault(path, []).append(entry)
    if not written:
        raise InputError(
            "no final checkpoint has an accuracy on a benchmark whose hub data set is known",
            expected="at least one of `forecast tasks`",
        )
    for path, entries in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(yaml.safe_dump(entries, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return sorted(written)
