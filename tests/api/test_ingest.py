"""Importing lm-eval's files of both formats: items, aggregates, identities, traps and malformed input."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forecast.api.ingest import describe, import_paths
from forecast.core.errors import ForecastError, InputError, UsageError
from forecast.core.progress import SilentProgress
from forecast.store import Store

DATE = "2026-01-02T03-04-05.000006"
CHOICES = ("blue", "a very long green", "red")


def sample(index: int, golds: object, values: list[float], **changes: Any) -> dict[str, Any]:
    pairs = {f"gen_args_{i}": {"arg_0": f"Question {index}\nAnswer:", "arg_1": f" {text}"} for i, text in enumerate(CHOICES)}
    row: dict[str, Any] = {
        "doc_id": index,
        "doc": {"question": index},
        "target": str(golds),
        "arguments": pairs,
        "resps": [[[str(value), "False"]] for value in values],
        "filtered_resps": [[str(value), "False"] for value in values],
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
    }
    return {**row, **changes}


def colours(count: int = 20) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [sample(index, int(rng.integers(3)), [float(x) for x in -20 * rng.random(3)]) for index in range(count)]


def accuracies(rows: list[dict[str, Any]]) -> dict[str, float]:
    lengths = np.array([len(text) for text in CHOICES])
    right, right_norm = [], []
    for row in rows:
        values = np.array([float(response[0][0]) for response in row["resps"][:3]])
        right.append(int(np.argmax(values)) == int(row["target"]))
        right_norm.append(int(np.argmax(values / lengths)) == int(row["target"]))
    return {"acc": float(np.mean(right)), "acc_norm": float(np.mean(right_norm))}


def write_results(folder: Path, tasks: dict[str, dict[str, Any]], **config: Any) -> Path:
    """A results file in the outline of lm-eval 0.4.13."""
    folder.mkdir(parents=True, exist_ok=True)
    stated = {}
    for task, metrics in tasks.items():
        stated[task] = {"alias": task}
        for name, value in metrics.items():
            stated[task][f"{name},none"] = value
    content = {
        "results": stated,
        "configs": {
            task: {"task": task, "output_type": "multiple_choice", "target_delimiter": " ", "metadata": {"version": 1}}
            for task in tasks
        },
        "versions": dict.fromkeys(tasks, 1.0),
        "n-shot": dict.fromkeys(tasks, 0),
        "config": {
            "model": "hf",
            "model_args": {"pretrained": "someorg/tiny-10m", "revision": "step2000"},
            "model_num_parameters": 10_000_000,
            "model_dtype": "torch.float32",
            "limit": None,
            **config,
        },
        "lm_eval_version": "0.4.13",
        "date": 1.0,
    }
    path = folder / f"results_{DATE}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_samples(folder: Path, task: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"samples_{task}_{DATE}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(paths: list[Path], db: Path, **described: Any) -> tuple[Any, list[str]]:
    progress = SilentProgress()
    report = import_paths(paths, db=db, described=describe(**described), progress=progress)
    return report, progress.notices


def test_samples_give_the_aggregates_and_more(tmp_path: Path) -> None:
    rows = colours()
    results = write_results(tmp_path, {"colours": accuracies(rows)})
    write_samples(tmp_path, "colours", rows)
    db = tmp_path / "r.duckdb"
    report, _ = run([results], db, tokens=2_000_000_000)
    assert (report.runs, report.items, report.disagreements) == (1, 20, ())
    (score,) = Store(db).score_rows()
    assert score["acc"] == pytest.approx(accuracies(rows)["acc"])
    assert score["acc_norm"] == pytest.approx(accuracies(rows)["acc_norm"])
    gold = [float(row["resps"][int(row["target"])][0][0]) / len(CHOICES[int(row["target"])]) for row in rows]
    assert score["nll_per_char"] == pytest.approx(-np.mean(gold))
    assert score["nll_per_token"] is None
    assert (score["model"], score["revision"], score["step"], score["params"]) == ("tiny-10m", "step2000", 2000, 10_000_000)
    assert score["flops"] == 6.0 * 1e7 * 2e9
    before = Store(db).info()
    run([tmp_path], db, tokens=2_000_000_000)
    assert Store(db).info() == before


def test_a_disagreement_is_reported(tmp_path: Path) -> None:
    rows = colours()
    results = write_results(tmp_path, {"colours": {**accuracies(rows), "acc": 0.99, "acc_stderr": 0.5}})
    write_samples(tmp_path, "colours", rows)
    report, notices = run([results], tmp_path / "r.duckdb")
    assert any("states acc = 0.99" in sentence for sentence in report.disagreements)
    assert any("acc_stderr = 0.5" in sentence for sentence in report.disagreements)
    assert set(report.disagreements) <= set(notices)


def test_one_row_per_filter_counts_one_document(tmp_path: Path) -> None:
    rows = colours(5)
    results = write_results(tmp_path, {"colours": accuracies(rows)})
    write_samples(tmp_path, "colours", [{**row, "filter": name} for name in ("none", "strict") for row in rows])
    report, _ = run([results], tmp_path / "r.duckdb")
    assert (report.items, report.disagreements) == (5, ())


def test_mutual_information_doubles_the_requests_and_only_half_count(tmp_path: Path) -> None:
    rows = colours(5)
    stated = accuracies(rows)
    for row in rows:
        extra = {f"gen_args_{3 + i}": {"arg_0": "", "arg_1": f" {text}"} for i, text in enumerate(CHOICES)}
        row["arguments"] = {**row["arguments"], **extra}
        row["resps"] = [*row["resps"], *[[["-1.0", "False"]]] * 3]
        row["metrics"] = ["acc", "acc_norm", "acc_mutual_info"]
    results = write_results(tmp_path, {"colours": {**stated, "acc_mutual_info": stated["acc"]}})
    write_samples(tmp_path, "colours", rows)
    report, _ = run([results], tmp_path / "r.duckdb")
    assert report.disagreements == ()
    (score,) = Store(tmp_path / "r.duckdb").score_rows()
    assert score["chance"] == pytest.approx(1 / 3)


def test_choices_in_the_context_and_lambada_and_rolling_text(tmp_path: Path) -> None:
    winogrande = [
        {
            "doc_id": 0,
            "target": "was late.",
            "arguments": {f"gen_args_{i}": {"arg_0": name, "arg_1": " was late."} for i, name in enumerate(("Ann", "Bob"))},
            "resps": [[["-3.0", "False"]], [["-2.0", "False"]]],
            "metrics": ["acc"],
            "acc": 0.0,
        }
    ]
    words = [
        {
            "doc_id": index,
            "target": " word",
            "arguments": {"gen_args_0": {"arg_0": "a", "arg_1": " word"}},
            "resps": [[[str(-1.0 - index), str(index == 0)]]],
            "metrics": ["perplexity", "acc"],
        }
        for index in range(2)
    ]
    text = [
        {
            "doc_id": 0,
            "target": "caf\u00e9",
            "arguments": {"gen_args_0": {"arg_0": "caf\u00e9"}},
            "resps": [["-10.0"]],
            "metrics": ["bits_per_byte"],
            "bits_per_byte": [-10.0, 5],
        }
    ]
    bits = 2.0 / math.log(2.0)
    stated = {"wino": {"acc": 0.0}, "words": {"acc": 0.5, "perplexity": math.exp(1.5)}, "text": {"bits_per_byte": bits}}
    results = write_results(tmp_path, stated)
    content = json.loads(results.read_text())
    content["configs"]["words"]["output_type"] = "loglikelihood"
    content["configs"]["text"]["output_type"] = "loglikelihood_rolling"
    results.write_text(json.dumps(content))
    for task, rows in (("wino", winogrande), ("words", words), ("text", text)):
        write_samples(tmp_path, task, rows)
    report, _ = run([results], tmp_path / "r.duckdb")
    assert report.disagreements == ()
    scores = {row["task"]: row for row in Store(tmp_path / "r.duckdb").score_rows()}
    assert scores["wino"]["acc"] == 0.0
    assert scores["words"]["acc"] == 0.5
    assert scores["words"]["nll_per_char"] == pytest.approx(1.5 / 4)
    assert scores["text"]["bits_per_byte"] == pytest.approx(bits)


def old_format(model_args: str, acc: float = 0.4, **config: Any) -> str:
    """The outline of EleutherAI's published Pythia evaluations (evals/pythia-v1), with other numbers."""
    content = {
        "results": {
            "lambada_openai": {"ppl": 20.0, "ppl_stderr": 0.5, "acc": 0.3, "acc_stderr": 0.01},
            "arc_easy": {"acc": acc, "acc_stderr": 0.01, "acc_norm": 0.35, "acc_norm_stderr": 0.01},
            "crows_pairs_english": {"likelihood_difference": 3.4, "pct_stereotype": 0.6},
        },
        "versions": {"lambada_openai": 0, "arc_easy": 0, "crows_pairs_english": 0},
        "config": {"model": "hf-causal", "model_args": model_args, "num_fewshot": 0, "limit": None, **config},
    }
    return json.dumps(content)


def test_the_old_format_of_published_pythia_evaluations(tmp_path: Path) -> None:
    folder = tmp_path / "pythia-160m" / "zero-shot"
    folder.mkdir(parents=True)
    for step in (1000, 3000):
        arguments = f"pretrained=EleutherAI/pythia-v1.1-160m,revision=step{step}"
        (folder / f"160m_step{step}.json").write_text(old_format(arguments))
    (folder / "notes.json").write_text("{}")
    db = tmp_path / "r.duckdb"
    report, notices = run([tmp_path / "pythia-160m"], db)
    assert (report.runs, report.observations) == (0, 4)
    assert any("1 JSON files are not lm-eval results" in text for text in notices)
    assert any("crows_pairs_english" in text for text in notices)
    ladders = {ladder.task: ladder for ladder in Store(db).ladders()}
    easy = ladders["arc_easy"]
    assert (easy.family, set(easy.model), easy.num_fewshot) == ("pythia", {"pythia-160m"}, 0)
    assert easy.step.tolist() == [1000.0, 3000.0]
    assert easy.tokens.tolist() == [1000 * 2097152.0, 3000 * 2097152.0]
    assert np.isfinite(easy.flops).all()
    assert easy.metrics["acc_norm"].tolist() == [0.35, 0.35]
    assert easy.sems["acc"].tolist() == [0.01, 0.01]
    before = Store(db).info()
    run([tmp_path / "pythia-160m"], db)
    assert Store(db).info() == before


@pytest.mark.parametrize(
    ("said", "flops", "convention"),
    [
        ({}, 6 * 85_056_000 * 1000 * 2_097_152, "6nd-non-embedding"),
        ({"tokens": 5_000_000}, 6 * 85_056_000 * 5_000_000, "6nd-non-embedding"),
        ({"params": 100, "tokens": 5_000_000}, 6 * 100 * 5_000_000, "6nd-total"),
        ({"tokens": 5_000_000, "flops": 1e19}, 1e19, "published"),
        ({"tokens": 0, "step": 0}, 0, "6nd-non-embedding"),
    ],
    ids=["card", "tokens", "params", "flops", "untrained"],
)
def test_the_users_numbers_are_counted_as_the_card_counts(
    tmp_path: Path, said: dict[str, Any], flops: float, convention: str
) -> None:
    path = tmp_path / "160m_step1000.json"
    path.write_text(old_format("pretrained=EleutherAI/pythia-v1.1-160m,revision=step1000"))
    run([path], tmp_path / "r.duckdb", **said)
    found = Store(tmp_path / "r.duckdb").query("SELECT DISTINCT flops, flops_convention FROM observations")
    assert [row for part in found for row in part.to_pylist()] == [{"flops": flops, "flops_convention": convention}]


def test_model_and_step_come_from_the_name_where_the_file_does_not_say(tmp_path: Path) -> None:
    folder = tmp_path / "tiny-5m" / "five-shot"
    folder.mkdir(parents=True)
    path = folder / "5m-5shot_step77.json"
    path.write_text(old_format("", num_fewshot=5))
    run([path], tmp_path / "r.duckdb", params=5_000_000, tokens=10_000_000)
    (ladder, _) = Store(tmp_path / "r.duckdb").ladders()
    assert (ladder.model, ladder.step.tolist(), ladder.num_fewshot) == (("tiny-5m",), [77.0], 5)
    assert ladder.flops.tolist() == [3e14]


def test_two_answers_of_one_checkpoint_are_refused(tmp_path: Path) -> None:
    rows = colours()
    db = tmp_path / "r.duckdb"
    write_samples(tmp_path / "a", "colours", rows) if (tmp_path / "a").mkdir() else None
    run([write_results(tmp_path / "a", {"colours": accuracies(rows)})], db)
    write_results(tmp_path / "a", {"colours": accuracies(rows)})
    write_samples(tmp_path / "a", "colours", rows)
    run([tmp_path / "a"], db)
    (tmp_path / "b").mkdir()
    other = colours(20)
    other[3]["resps"][0][0][0] = "-0.125"
    write_samples(tmp_path / "b", "colours", other)
    before = Store(db).info()
    with pytest.raises(InputError, match=r"say which with `model=` and `step=`; nothing was imported"):
        run([write_results(tmp_path / "b", {"colours": accuracies(other)})], db)
    assert Store(db).info() == before
    run([tmp_path / "b"], db, model="another")
    assert {row["model"] for row in Store(db).score_rows()} == {"tiny-10m", "another"}


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda row: row.pop("resps"), "resps"),
        (lambda row: row.update(resps=[[["nan", "False"]]] * 3), "finite"),
        (lambda row: row.update(resps=row["resps"][:2]), "3 requests and 2 responses"),
        (lambda row: row.update(target="7"), "a choice from 0 to 2"),
        (lambda row: row.update(doc_id="x"), "doc_id"),
        (lambda row: row.update(arguments={}), "arguments"),
        (lambda row: row["arguments"]["gen_args_1"].update(arg_1=" "), "empty choice"),
    ],
)
def test_a_malformed_sample_is_one_sentence_and_nothing_is_imported(tmp_path: Path, damage: Any, expected: str) -> None:
    rows = colours(3)
    damage(rows[1])
    results = write_results(tmp_path, {"colours": {"acc": 0.5}})
    write_samples(tmp_path, "colours", rows)
    table = tmp_path / "good.csv"
    table.write_text("family,model,task,flops,acc\nf,m,t,1e20,0.5\n")
    with pytest.raises(ForecastError, match=expected) as caught:
        run([table, results], tmp_path / "r.duckdb")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r.duckdb").exists() or Store(tmp_path / "r.duckdb").info().observations == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "not JSON"),
        ("[]", "no 'results' object"),
        ('{"results": {}}', "no 'results' object"),
        ('{"results": {"t": {"acc": 63.0}}, "versions": {}}', "0.63, not 63"),
        ('{"results": {"t": {"alias": "t"}}, "versions": {}}', "states no metric"),
        ('{"results": {"t": 3}, "versions": {}}', "an object of metrics"),
    ],
)
def test_a_malformed_results_file_is_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "results_x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=expected):
        run([path], tmp_path / "r.duckdb")


def test_what_a_table_says_itself_is_not_overruled_in_silence(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("family,model,task,flops,acc\nf,m,t,1e18,0.5\n")
    with pytest.raises(UsageError, match="says itself"):
        run([table], tmp_path / "s.duckdb", family="other")
    assert not (tmp_path / "s.duckdb").exists()


def test_paths_that_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "samples_t_2026.jsonl").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.txt").write_text("x")
    for path, expected in (
        (tmp_path / "missing.json", "no file or folder"),
        (tmp_path / "empty", "holds no lm-eval results"),
        (tmp_path / "samples_t_2026.jsonl", "has no results_2026.json next to it"),
        (tmp_path / "x.txt", "unknown kind"),
    ):
        with pytest.raises(InputError, match=expected):
            run([path], tmp_path / "r.duckdb")
