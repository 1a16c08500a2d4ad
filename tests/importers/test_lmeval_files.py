"""lm-eval's files as people really have them: named in many ways, edited, cut off, compressed, or damaged."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forecast.api.ingest import describe, import_paths
from forecast.core.errors import InputError, UsageError
from forecast.core.progress import SilentProgress
from forecast.importers.lmeval_results import StatedResults, looks_like_results, read_results
from forecast.importers.lmeval_samples import SampledTask, read_samples
from forecast.store import Store

STATED = {"acc": 0.4, "acc_stderr": 0.01}


def content(arguments: object = "pretrained=EleutherAI/pythia-70m,revision=step1000", **config: Any) -> dict[str, Any]:
    """A file of the old format, in the outline of EleutherAI's published Pythia evaluations."""
    return {
        "results": {
            "arc_easy": STATED,
            "hendrycksTest-anatomy": {"acc": 0.25, "acc_stderr": 0.04, "acc_norm": 0.26, "acc_norm_stderr": 0.04},
            "lambada_openai": {"ppl": 20.0, "ppl_stderr": 0.5, "acc": 0.3, "acc_stderr": 0.01},
        },
        "versions": {"arc_easy": 0, "hendrycksTest-anatomy": 1, "lambada_openai": 0},
        "config": {"model": "hf-causal", "model_args": arguments, "num_fewshot": 0, "limit": None, **config},
    }


def put(tmp_path: Path, name: str, text: str | bytes) -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", errors="surrogatepass"))
    return path


def read(tmp_path: Path, value: object, name: str = "x.json") -> StatedResults:
    return read_results(put(tmp_path, name, json.dumps(value)))


@pytest.mark.parametrize(
    ("name", "arguments", "model", "step"),
    [
        ("evals/pythia-v1/pythia-70m/zero-shot/70m_step143000.json", "", "pythia-70m", 143000),
        ("evals/pythia-v1/pythia-70m-deduped/five-shot/70m-deduped-5shot_step77.json", "", "pythia-70m-deduped", 77),
        ("mine/pythia-70m_step1000.json", "", "pythia-70m", 1000),
        ("mine/pythia-1.4b-deduped_step3000.json", "use_accelerate=True", "pythia-1.4b-deduped", 3000),
        ("mine/pythia-160m-step512.json", None, "pythia-160m", 512),
        ("mine/EleutherAI__pythia-160m/results_2024.json", "", "pythia-160m", None),
        ("mine/a.json", "pythia-160m", "pythia-160m", None),
        ("mine/a.json", "EleutherAI/pythia-160m", "pythia-160m", None),
        ("mine/a.json", "use_accelerate=True,pretrained=EleutherAI/pythia-v1.1-2.8b,revision=step5", "pythia-2.8b", 5),
        ("mine/a.json", " pretrained='EleutherAI/pythia-70m' , revision=\"step6\" ", "pythia-70m", 6),
        ("mine/a.json", {"pretrained": "EleutherAI/pythia-70m-seed1", "revision": "step7"}, "pythia-70m-seed1", 7),
        ("mine/a.json", "pretrained=/models/pythia-12b/global_step143000", "pythia-12b", 143000),
        ("mine/a.json", "pretrained=x/y,revision=step99999999999999999999", "y", None),
    ],
)
def test_model_and_step_are_found_wherever_they_stand(
    tmp_path: Path, name: str, arguments: object, model: str, step: int | None
) -> None:
    identity = read(tmp_path, content(arguments), name).identity
    assert (identity.model, identity.step) == (model, step)


@pytest.mark.parametrize("arguments", ["pretrained=EleutherAI/pythia-2.8b,revision=main", "pretrained=EleutherAI/pythia-2.8b"])
def test_the_branch_main_is_the_final_checkpoint(tmp_path: Path, arguments: str) -> None:
    path = put(tmp_path, "a.json", json.dumps(content(arguments)))
    import_paths([path], db=tmp_path / "r.duckdb", progress=SilentProgress())
    for ladder in Store(tmp_path / "r.duckdb").ladders():
        assert (ladder.family, ladder.model, ladder.step.tolist()) == ("pythia", ("pythia-2.8b",), [143000.0])


@pytest.mark.parametrize(("shots", "expected"), [(5, 5), ("5", 5), (5.0, 5), (0, 0), (-1, None), ([5], None), (True, None)])
def test_shots_are_a_count_or_unknown(tmp_path: Path, shots: object, expected: int | None) -> None:
    assert {task.num_fewshot for task in read(tmp_path, content(num_fewshot=shots)).tasks} == {expected}


def test_a_limit_that_is_a_share_is_not_all_items(tmp_path: Path) -> None:
    db = tmp_path / "r.duckdb"
    for number, limit in enumerate((None, 0.1, 100, "100")):
        path = put(tmp_path, f"{number}.json", json.dumps(content(limit=limit)))
        import_paths([path], db=db, progress=SilentProgress())
    rows = [row for batch in Store(db).query("FROM observations WHERE task = 'arc_easy'") for row in batch.to_pylist()]
    limits = {part for row in rows for part in row["definition"].split() if part.startswith("limit=")}
    assert limits == {"limit=none", "limit=0.1", "limit=100"}


def test_numbers_written_as_strings_count(tmp_path: Path) -> None:
    value = {"results": {"t": {"alias": "12", "acc,none": "0.4", "acc_stderr,none": "N/A"}}, "versions": {}}
    (task,) = read(tmp_path, value).tasks
    assert (dict(task.metrics), dict(task.sems)) == ({"acc": 0.4}, {})


def test_a_byte_order_mark_is_no_damage(tmp_path: Path) -> None:
    path = put(tmp_path, "x.json", "\ufeff" + json.dumps(content()))
    assert looks_like_results(path)
    assert len(read_results(path).tasks) == 3


def test_a_file_without_versions_is_found_in_a_folder(tmp_path: Path) -> None:
    value = {name: part for name, part in content().items() if name != "versions"}
    assert looks_like_results(put(tmp_path, "x.json", json.dumps(value)))


def results_of(**metrics: object) -> str:
    return json.dumps({"results": {"t": metrics}, "versions": {}})


DAMAGED_RESULTS: dict[str, tuple[str | bytes, str]] = {
    "cut off": (json.dumps(content())[:80], "may be cut off"),
    "nan": (results_of(acc=float("nan")), "acc of t is nan"),
    "infinite": (results_of(acc=float("inf")), "acc of t is inf"),
    "percentage": (results_of(acc_norm=40.0), "0.63, not 63"),
    "percentage of matches": (results_of(exact_match=40.0), "0.63, not 63"),
    "negative error": (results_of(acc=0.4, acc_stderr=-0.1), "acc_stderr of t is -0.1"),
    "error of a percentage": (results_of(acc=0.4, acc_stderr=1.4), "acc_stderr of t is 1.4"),
    "bits below zero": (results_of(bits_per_byte=-1.0), "bits_per_byte of t is -1.0"),
    "bits beyond reason": (results_of(bits_per_byte=1e9), "at most 100"),
    "integer beyond floats": ('{"results": {"t": {"acc": 1' + "0" * 400 + '}}, "versions": {}}', "acc of t is '1000"),
    "twice": ('{"results": {"t": {"acc": 0.1}, "t": {"acc": 0.2}}, "versions": {}}', "'t' occurs twice"),
    "nameless task": ('{"results": {"": {"acc": 0.1}}, "versions": {}}', "a task is called ''"),
    "line break in a task": ('{"results": {"a\\nb": {"acc": 0.1}}, "versions": {}}', "a task is called 'a\\\\nb'"),
    "half a character": ('{"results": {"t\\ud800": {"acc": 0.1}}, "versions": {}}', "half a character"),
    "control character in the model": (json.dumps(content("pretrained=x/y\0")), "the model is called"),
    "too deep": ('{"results": ' + '{"a": ' * 90_000 + "1" + "}" * 90_001, "nested too deeply"),
    "UTF-16": (json.dumps(content()).encode("utf-16"), "not JSON"),
    "compressed": (gzip.compress(json.dumps(content()).encode(), mtime=0), "not JSON"),
}


@pytest.mark.parametrize("kind", DAMAGED_RESULTS)
def test_a_damaged_results_file_is_one_sentence(tmp_path: Path, kind: str) -> None:
    text, expected = DAMAGED_RESULTS[kind]
    path = put(tmp_path, "x.json", text)
    with pytest.raises(InputError, match=expected) as caught:
        import_paths([path], db=tmp_path / "r.duckdb", progress=SilentProgress())
    assert "\n" not in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.json"]


def row(index: object = 0, values: tuple[object, ...] = ("-1.5", "-2.0", "-3.0"), **changes: Any) -> dict[str, Any]:
    arguments = {f"gen_args_{i}": {"arg_0": "Q:", "arg_1": f" {text}"} for i, text in enumerate(("blue", "green", "red"))}
    found = {"doc_id": index, "target": "1", "arguments": arguments, "resps": [[[value, "False"]] for value in values]}
    return {**found, "filter": "none", "metrics": ["acc"], **changes}


def lines(*rows: object) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in rows)


def read_rows(tmp_path: Path, text: str | bytes, name: str = "samples_t_1.jsonl") -> SampledTask:
    return read_samples(put(tmp_path, name, text), {"output_type": "multiple_choice", "target_delimiter": " "})


def without_second_texts(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "arguments": {name: {"arg_0": "Q:"} for name in entry["arguments"]}}


READABLE_SAMPLES: dict[str, Callable[[], str | bytes]] = {
    "plain": lambda: lines(row(0), row(1), row(2)),
    "out of order": lambda: lines(row(2), row(0), row(1)),
    "byte order mark": lambda: "\ufeff" + lines(row(0), row(1), row(2)),
    "Windows line ends": lambda: lines(row(0), row(1), row(2)).replace("\n", "\r\n"),
    "no last line end": lambda: lines(row(0), row(1), row(2)).rstrip(),
    "numbers as numbers": lambda: lines(*(row(index, (-1.5, -2, -3.0)) for index in range(3))),
    "indices as strings": lambda: lines(row("0"), row("1"), row("2")),
    "indices as floats": lambda: lines(row(0.0), row(1.0), row(2.0)),
    "filters": lambda: lines(*(row(index, filter=name) for name in ("none", "strict") for index in range(3))),
    "documents repeated": lambda: lines(row(0), row(1), row(2)) * 2,
    "requests as lists": lambda: lines(
        *(row(i, arguments=[["Q:", " blue"], ["Q:", " green"], ["Q:", " red"]]) for i in range(3))
    ),
    "metrics that are no names": lambda: lines(*(row(index, metrics=[{"metric": "acc"}]) for index in range(3))),
    "NaN in the document": lambda: lines(*(row(index, doc={"x": float("nan")}) for index in range(3))),
}


@pytest.mark.parametrize("kind", READABLE_SAMPLES)
def test_samples_are_read_however_they_are_written(tmp_path: Path, kind: str) -> None:
    samples = read_rows(tmp_path, READABLE_SAMPLES[kind]())
    assert [entry.item.item_idx for entry in samples.items] == [0, 1, 2]
    assert {entry.loglikelihoods for entry in samples.items} == {(-1.5, -2.0, -3.0)}
    assert {entry.item.choices for entry in samples.items} == {("blue", "green", "red")}
    assert {entry.item.gold for entry in samples.items} == {1}


def test_characters_and_bytes_of_any_script_are_counted(tmp_path: Path) -> None:
    texts = ("Größe", "😀😀", "日本語", "a\u0000b")
    arguments = {f"gen_args_{i}": {"arg_0": "Q:", "arg_1": f" {text}"} for i, text in enumerate(texts)}
    entry = row(0, ("-1", "-2", "-3", "-4"), arguments=arguments)
    for text in (lines(entry), json.dumps(entry, ensure_ascii=False) + "\n"):
        (item,) = read_rows(tmp_path, text).items
        assert item.item.n_chars == (5, 2, 3, 3)
        assert item.item.n_bytes == (7, 8, 9, 3)


DAMAGED_SAMPLES: dict[str, tuple[Callable[[], str | bytes], str]] = {
    "empty": (lambda: "", "is empty"),
    "last line cut off": (lambda: lines(row(0), row(1))[:-30], r"line 2 is not JSON.*may be cut off"),
    "two answers": (lambda: lines(row(0), row(0, ("-1.0", "-2.0", "-3.0"))), "document 0 has different responses"),
    "index is a flag": (lambda: lines(row(True)), "doc_id is True"),
    "index below zero": (lambda: lines(row(-1)), "doc_id is -1"),
    "index beyond integers": (lambda: lines(row(10**12)), "doc_id is 1000000000000"),
    "no index": (lambda: lines(row(None)), "doc_id is None"),
    "NaN": (lambda: lines(row(0, ("nan", "-1", "-1"))), "finite loglikelihood"),
    "minus infinity": (lambda: lines(row(0, ("-inf", "-1", "-1"))), "finite loglikelihood"),
    "a loss instead": (lambda: lines(row(0, ("1.5", "2.0", "3.0"))), "at most 0"),
    "integer beyond floats": (lambda: lines(row(0, (-(10**400), "-1", "-1"))), "finite loglikelihood"),
    "no number": (lambda: lines(row(0, ("x", "-1", "-1"))), "finite loglikelihood"),
    "half a character": (lambda: lines(row(0, prompt="x\ud800")), "half a character"),
    "too deep": (lambda: "[" * 90_000, "nested too deeply"),
    "a list": (lambda: lines([1, 2]), "line 1 is not an object"),
    "request without its text": (lambda: lines(without_second_texts(row(0))), "empty choice 0"),
    "UTF-16": (lambda: lines(row(0)).encode("utf-16"), "holds NUL bytes.*save it as UTF-8"),
    "compressed under a plain name": (lambda: gzip.compress(lines(row(0)).encode(), mtime=0), "NUL bytes|not UTF-8"),
    "no correct choice": (lambda: lines(row(0, target="7")), "a choice from 0 to 2"),
    "beyond sums": (lambda: lines(row(0, ("-1e300", "-1", "-1"))), "below 1e\\+07 nats"),
}


@pytest.mark.parametrize("kind", DAMAGED_SAMPLES)
def test_a_damaged_samples_file_is_one_sentence_and_nothing_changes(tmp_path: Path, kind: str) -> None:
    make, expected = DAMAGED_SAMPLES[kind]
    value = {**content(), "results": {"t": STATED}, "configs": {"t": {"output_type": "multiple_choice"}}}
    files = [put(tmp_path, "results_1.json", json.dumps(value)), put(tmp_path, "samples_t_1.jsonl", make())]
    with pytest.raises(InputError, match=expected) as caught:
        import_paths(files, db=tmp_path / "r.duckdb", progress=SilentProgress())
    assert "\n" not in str(caught.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["results_1.json", "samples_t_1.jsonl"]


@pytest.mark.parametrize("output_type", ["loglikelihood", "loglikelihood_rolling"])
def test_choices_under_a_type_without_choices_are_refused(tmp_path: Path, output_type: str) -> None:
    path = put(tmp_path, "samples_t_1.jsonl", lines(row(0)))
    with pytest.raises(InputError, match=f"has 3 requests; expected one, as the task's output_type is {output_type}"):
        read_samples(path, {"output_type": output_type})


def test_a_task_configuration_may_hold_what_json_cannot(tmp_path: Path) -> None:
    configs = {"t": {"output_type": "multiple_choice", "generation_kwargs": {"temperature": float("inf")}}}
    results = put(tmp_path, "results_1.json", json.dumps({**content(), "results": {"t": {"acc": 0.0}}, "configs": configs}))
    put(tmp_path, "samples_t_1.jsonl", lines(row(0), row(1)))
    assert import_paths([results], db=tmp_path / "r.duckdb", progress=SilentProgress()).runs == 1


def test_many_files_are_one_short_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[int] = []
    commit = Store.commit

    def count(self: Store) -> int:
        commits.append(commit(self))
        return commits[-1]

    monkeypatch.setattr(Store, "commit", count)
    for step in range(1000, 13000, 1000):
        put(tmp_path, f"all/70m_step{step}.json", json.dumps(content(f"pretrained=EleutherAI/pythia-70m,revision=step{step}")))
    for _ in range(2):
        import_paths([tmp_path / "all"], db=tmp_path / "r.duckdb", progress=SilentProgress())
        assert Store(tmp_path / "r.duckdb").info().imported_observations == 36
    assert len(commits) == 2


def test_compressed_samples_are_found_beside_their_results(tmp_path: Path) -> None:
    value = {**content(), "results": {"t": {"acc": 0.0}}, "configs": {"t": {"output_type": "multiple_choice"}}}
    results = put(tmp_path, "results_1.json", json.dumps(value))
    whole = gzip.compress(lines(row(0), row(1)).encode(), mtime=0)
    samples = put(tmp_path, "samples_t_1.jsonl.gz", whole)
    for path in (results, samples, tmp_path):
        report = import_paths([path], db=tmp_path / "r.duckdb", progress=SilentProgress())
        assert (report.runs, report.items, report.disagreements) == (1, 2, ())
    assert Store(tmp_path / "r.duckdb").info().runs == 1
    samples.write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"jsonl\.gz cannot be read"):
        import_paths([results], db=tmp_path / "r.duckdb", progress=SilentProgress())


def test_tokens_on_the_command_line_are_no_billions() -> None:
    with pytest.raises(UsageError, match=r"`tokens=` is 300; expected tokens \(3e11, not 300\)"):
        describe(tokens=300)
    few = describe(tokens=512, step=1)
    assert few is not None
    assert few.tokens == 512
