"""`evaluate` from folders to stored rows: lm-eval's accuracies, resuming, identities, and what goes wrong by name."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from forecast.core.checkpoint_note import CheckpointNote, write_note
from forecast.core.errors import ForecastError, InputError, PartialResultError, UsageError
from forecast.core.progress import SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.scoring import checkpoint_sweep, packed_forward, task_source
from forecast.store import Store
from forecast.workflows.evaluate import EvaluationReport, FailedCheckpoint, evaluate
from forecast.workflows.selection import select

CHOICE_TASK = """
task: toy_choice
dataset_path: toy/choice
output_type: multiple_choice
training_split: train
test_split: test
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: gold
doc_to_choice: choices
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
CONTEXT_TASK = """
task: toy_context
dataset_path: toy/choice
output_type: multiple_choice
test_split: test
doc_to_text: "{{gold}}"
doc_to_target: "and that is all"
doc_to_choice: "{{choices}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
SEVERAL_GOLDS_TASK = """
task: toy_golds
dataset_path: toy/choice
output_type: multiple_choice
test_split: test
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: "{{[gold, 0]}}"
doc_to_choice: choices
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
WORD_TASK = """
task: toy_word
dataset_path: toy/choice
output_type: loglikelihood
test_split: test
doc_to_text: "{{question}}"
doc_to_target: " {{choices[gold]}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: perplexity, aggregation: perplexity, higher_is_better: false}
"""
TEXT_TASK = """
task: toy_text
dataset_path: toy/choice
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{question}} {{question}} {{question}}"
metric_list:
  - {metric: byte_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
"""
WRITTEN_TASK = """
task: toy_written
dataset_path: toy/choice
output_type: generate_until
test_split: test
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: "{{choices[gold]}}"
generation_kwargs: {until: ["\\n"]}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
GROUP = """
group: toy_group
task: [toy_choice, toy_word]
"""


def build_checkpoint(folder: Path, seed: int = 0, width: int = 32) -> Path:
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(["the red cat sat on the mat and the dog ran"] * 3, trainer)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.GPTNeoXConfig(
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        vocab_size=280,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.3,
    )
    transformers.GPTNeoXForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("toys")
    return [build_checkpoint(root / f"toy-{seed}", seed) for seed in range(3)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tasks/` with definitions and `data/`, a mirror with one data set."""
    root = tmp_path_factory.mktemp("world")
    (root / "tasks").mkdir()
    definitions = (CHOICE_TASK, CONTEXT_TASK, SEVERAL_GOLDS_TASK, WORD_TASK, TEXT_TASK, WRITTEN_TASK, GROUP)
    for i, definition in enumerate(definitions):
        (root / "tasks" / f"{i}.yaml").write_text(definition)
    generator = np.random.default_rng(0)
    words = ["cat", "dog", "mat", "barn", "apple", "é北", "tree", "of", "the", "moon", "run"]

    def item() -> dict[str, Any]:
        drawn = [" ".join(generator.choice(words, size=generator.integers(1, 4))) for _ in range(8)]
        return {
            "question": " ".join(drawn[:3]),
            "choices": [f"{text} {i}" for i, text in enumerate(drawn[3:7])],
            "gold": int(generator.integers(4)),
        }

    write_mirror(root / "data", {"test": [item() for _ in range(30)], "train": [item() for _ in range(8)]})
    return root


def write_mirror(root: Path, splits: dict[str, list[dict[str, Any]]]) -> None:
    folder = root / "toy" / "choice" / "default"
    folder.mkdir(parents=True)
    for name, items in splits.items():
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as handle:
            handle.writelines(json.dumps(entry) + "\n" for entry in items)


@pytest.fixture
def run(world: Path, tmp_path: Path) -> Callable[..., EvaluationReport]:
    def run_evaluation(folders: list[Path] | Path, tasks: list[str], **options: Any) -> EvaluationReport:
        sources = folders if isinstance(folders, list) else [folders]
        settings: dict[str, Any] = {
            "db": tmp_path / "results.duckdb",
            "include_path": world / "tasks",
            "data_dir": world / "data",
            "device": "cpu",
            **options,
        }
        return evaluate([CheckpointRequest(source=str(folder)) for folder in sources], tasks=tasks, **settings)

    return run_evaluation


def lm_eval_results(folder: Path, world: Path, tasks: list[str], shots: int | None) -> dict[str, dict[str, float]]:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from forecast.scoring.task_source import MirrorTaskFactory

    manager = TaskManager(include_path=world / "tasks", include_defaults=False)
    manager._factory = MirrorTaskFactory(world / "data", lambda _: None)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    backend = HFLM(pretrained=model, tokenizer=transformers.AutoTokenizer.from_pretrained(folder), batch_size=4)
    found = lm_eval.simple_evaluate(
        backend, tasks=tasks, num_fewshot=shots, task_manager=manager, bootstrap_iters=0, log_samples=False
    )
    return {task: {name.split(",")[0]: value for name, value in row.items()} for task, row in found["results"].items()}


@pytest.mark.filterwarnings("ignore")  # lm-eval's evaluator warns of its own configuration.
@pytest.mark.parametrize("shots", [0, 3])
def test_accuracies_are_those_of_lm_eval(
    shots: int, checkpoints: list[Path], world: Path, run: Callable[..., EvaluationReport]
) -> None:
    tasks = ["toy_choice", "toy_context", "toy_word"]
    if shots == 0:  # lm-eval cannot write an example that has several answers by index.
        tasks.append("toy_golds")
    theirs = lm_eval_results(checkpoints[0], world, tasks, shots)
    ours = {str(row["task"]): row for row in run(checkpoints[0], tasks, num_fewshot=shots).rows}
    for task in tasks:
        assert ours[task]["acc"] == pytest.approx(theirs[task]["acc"], abs=1e-12), task
        assert ours[task]["num_fewshot"] == shots
    assert ours["toy_choice"]["acc_norm"] == pytest.approx(theirs["toy_choice"]["acc_norm"], abs=1e-12)
    assert np.exp(ours["toy_word"]["nll_gold"]) == pytest.approx(theirs["toy_word"]["perplexity"], rel=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_rolling_text_gives_lm_evals_byte_perplexity(
    checkpoints: list[Path], world: Path, run: Callable[..., EvaluationReport], tmp_path: Path
) -> None:
    theirs = lm_eval_results(checkpoints[0], world, ["toy_text"], 0)["toy_text"]["byte_perplexity"]
    run(checkpoints[0], ["toy_text"])
    [(total, n_bytes)] = ask(
        tmp_path, "SELECT sum(nll_gold), sum(i.n_bytes[1]) FROM item_metrics JOIN items i USING (item_idx)"
    )
    assert np.exp(float(total) / float(n_bytes)) == pytest.approx(theirs, rel=1e-5)


def test_a_generation_task_contributes_the_likelihood_of_its_answer(
    checkpoints: list[Path], run: Callable[..., EvaluationReport]
) -> None:
    written, choice = (run(checkpoints[0], [name]).rows[0] for name in ("toy_written", "toy_choice"))
    assert written["nll_gold"] == pytest.approx(choice["nll_gold"], abs=1e-5)
    assert written["output_type"] == "generate_until"


def ask(folder: Path, query: str) -> list[tuple[Any, ...]]:
    parts = Store(folder / "results.duckdb").query(query)
    return [tuple(row.values()) for part in parts for row in part.to_pylist()]


def test_an_interrupted_evaluation_goes_on_where_it_stopped(
    checkpoints: list[Path], run: Callable[..., EvaluationReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = packed_forward.PackedModel.score_batch
    calls: list[int] = []

    def interrupted(self: Any, batch: Any, target: Any) -> Any:
        calls.append(len(batch.tokens))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return honest(self, batch, target)

    monkeypatch.setattr(packed_forward.PackedModel, "score_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoints[0], ["toy_choice"], token_budget=100)
    Store(tmp_path / "results.duckdb").commit()
    [(kept,)] = ask(tmp_path, "SELECT count(*) FROM item_scores")
    assert 0 < kept < 30
    monkeypatch.setattr(packed_forward.PackedModel, "score_batch", honest)
    resumed = run(checkpoints[0], ["toy_choice"], token_budget=100).rows[0]
    whole = run(checkpoints[0], ["toy_choice"], db=tmp_path / "other.duckdb").rows[0]
    assert resumed["n_items"] == 30
    assert resumed["tokens_computed"] < whole["tokens_computed"]
    assert resumed["nll_per_char"] == pytest.approx(whole["nll_per_char"], abs=1e-6)
    assert resumed["run_id"] == whole["run_id"]


def test_what_is_stored_is_neither_loaded_nor_computed_again(
    checkpoints: list[Path], run: Callable[..., EvaluationReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(checkpoints[:2], ["toy_choice", "toy_word"])
    monkeypatch.setattr(checkpoint_sweep, "load_checkpoint", lambda *_, **__: pytest.fail("loaded again"))
    assert run(checkpoints[:2], ["toy_choice", "toy_word"]).rows == first.rows


def test_results_of_different_definitions_are_kept_apart(checkpoints: list[Path], run: Callable[..., EvaluationReport]) -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"num_fewshot": 2},
        {"num_fewshot": 2, "fewshot_seed": 5},
        {"limit": 10},
        {"dtype": "float64"},
        {"deterministic": True},
        {"backend": "lm-eval:hf"},
    ]
    rows = [run(checkpoints[0], ["toy_choice"], **variant).rows[0] for variant in variants]
    rows.append(run(checkpoints[1], ["toy_choice"]).rows[0])
    assert len({row["run_id"] for row in rows}) == len(rows)
    assert rows[0]["run_id"] == run(checkpoints[0], ["toy_choice"], fewshot_seed=7).rows[0]["run_id"]
    for other in rows[4:7]:
        assert other["nll_per_char"] == pytest.approx(rows[0]["nll_per_char"], abs=1e-5)


def test_groups_are_expanded(checkpoints: list[Path], run: Callable[..., EvaluationReport]) -> None:
    assert {row["task"] for row in run(checkpoints[0], ["toy_group"]).rows} == {"toy_choice", "toy_word"}


@pytest.fixture
def damaged(checkpoints: list[Path], tmp_path: Path) -> dict[str, Path]:
    import shutil

    made = {
        name: Path(shutil.copytree(checkpoints[0], tmp_path / "family" / name))
        for name in ("corrupt", "cut", "nan", "no-weights", "no-tokenizer", "no-config", "bad-config", "foreign")
    }
    (made["corrupt"] / "model.safetensors").write_bytes(b"\x10" + b"\0" * 7 + b"no header at all")
    weights = (made["cut"] / "model.safetensors").read_bytes()
    (made["cut"] / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    state = transformers.AutoModelForCausalLM.from_pretrained(made["nan"])
    with torch.no_grad():
        state.gpt_neox.layers[1].mlp.dense_h_to_4h.weight[3, 3] = float("nan")
    state.save_pretrained(made["nan"])
    (made["no-weights"] / "model.safetensors").unlink()
    for path in made["no-tokenizer"].glob("tokenizer*"):
        path.unlink()
    (made["no-config"] / "config.json").unlink()
    (made["bad-config"] / "config.json").write_text('{"model_type": "gpt_neox"')
    (made["foreign"] / "config.json").write_text('{"model_type": "t5"}')
    return made


def test_one_bad_checkpoint_does_not_stop_the_others(
    damaged: dict[str, Path], checkpoints: list[Path], run: Callable[..., EvaluationReport]
) -> None:
    report = run([checkpoints[0], *damaged.values(), checkpoints[1]], ["toy_choice"])
    assert [row["model"] for row in report.rows] == ["toy-0", "toy-1"]
    assert {Path(failure.source).name for failure in report.failures} == set(damaged)
    with pytest.raises(PartialResultError) as caught:
        report.raise_failures()
    assert caught.value.exit_code == 3
    for name in damaged:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("corrupt", "safetensors"),
        ("cut", "bytes"),
        ("nan", "task 'toy_choice', item"),
        ("no-weights", "no weights"),
        ("no-tokenizer", "no tokenizer"),
        ("no-config", "config.json"),
        ("bad-config", "config.json"),
        ("foreign", "t5"),
    ],
)
def test_a_bad_checkpoint_alone_is_one_line_that_names_the_defect(
    name: str, said: str, damaged: dict[str, Path], run: Callable[..., EvaluationReport]
) -> None:
    report = run(damaged[name], ["toy_choice"])
    with pytest.raises(ForecastError, match=said) as caught:
        report.raise_failures()
    assert caught.value.exit_code == 1
    assert report.rows == ()


def test_a_missing_folder_among_several_does_not_stop_the_others(checkpoints: list[Path], world: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none"
    requests = select(models=[str(missing), str(checkpoints[0])], keep_missing=True)
    report = evaluate(
        requests, tasks=["toy_choice"], db=tmp_path / "r.duckdb", include_path=world / "tasks", data_dir=world / "data"
    )
    assert [row["model"] for row in report.rows] == ["toy-0"]
    with pytest.raises(PartialResultError, match=f"no folder '{missing}'") as caught:
        report.raise_failures()
    assert caught.value.exit_code == 3
    with pytest.raises(InputError, match="no folder"):
        select(models=[str(missing)], keep_missing=True)


def test_a_failure_names_its_source_once() -> None:
    failures = (
        FailedCheckpoint(source="lab/x", error="lab/x: no such model"),
        FailedCheckpoint(source="lab/y", error="out of memory"),
    )
    with pytest.raises(ForecastError, match=r"^lab/x: no such model; lab/y: out of memory$"):
        EvaluationReport(rows=(), failures=failures).raise_failures()


@pytest.fixture
def only_own_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave lm-eval's thousands of definitions unread: indexing them takes seconds and is not what is tested."""
    monkeypatch.setattr(task_source, "TaskManager", functools.partial(task_source.TaskManager, include_defaults=False))


def test_an_unknown_task_is_refused_with_the_nearest_names(
    checkpoints: list[Path], run: Callable[..., EvaluationReport], tmp_path: Path, only_own_tasks: None
) -> None:
    with pytest.raises(UsageError, match="toy_choice"):
        run(checkpoints[0], ["toy_choise"])
    assert not (tmp_path / "results.duckdb").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"include_path": Path("/nowhere")}, "--include-path"),
        ({"data_dir": Path("/nowhere")}, "--data-dir"),
        ({"dtype": "float8"}, "float8"),
        ({"device": "tpu"}, "tpu"),
        ({"device": "cuda"}, "CUDA"),
        ({"backend": "vllm"}, "lm-eval:NAME"),
        ({"num_fewshot": 50}, "50 examples"),
    ],
)
def test_impossible_wishes_are_refused(
    options: dict[str, Any], said: str, checkpoints: list[Path], run: Callable[..., EvaluationReport]
) -> None:
    if options == {"device": "cuda"} and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ForecastError, match=said):
        run(checkpoints[0], ["toy_choice"], **options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"choices": ["a", "", "b", "c"]}, "item 1: choice 1 is empty"),
        ({"gold": 4}, "task 'toy_choice', item 1: the answer 4"),
        ({"gold": -1}, "task 'toy_choice', item 1: the answer -1"),
    ],
)
def test_a_malformed_item_is_named(
    change: dict[str, Any],
    said: str,
    checkpoints: list[Path],
    world: Path,
    run: Callable[..., EvaluationReport],
    tmp_path: Path,
) -> None:
    good = {"question": "why", "choices": ["a", "b", "c", "d"], "gold": 0}
    write_mirror(tmp_path / "mirror", {"test": [good, {**good, **change}, good], "train": [good]})
    with pytest.raises(InputError, match=said):
        run(checkpoints[0], ["toy_choice"], data_dir=tmp_path / "mirror")
    if "choices" in change:
        progress = SilentProgress()
        report = run(checkpoints[0], ["toy_choice"], data_dir=tmp_path / "mirror", skip_empty=True, progress=progress)
        assert report.rows[0]["n_items"] == 2
        assert any("item 1" in notice for notice in progress.notices)


GOOD = {"question": "why", "choices": ["a", "b", "c", "d"], "gold": 0}


@pytest.mark.parametrize("by_mirror", [True, False])
def test_a_malformed_first_item_is_named_though_lm_eval_stumbles_over_it(
    by_mirror: bool, checkpoints: list[Path], run: Callable[..., EvaluationReport], tmp_path: Path
) -> None:
    def source(name: str, first: dict[str, Any]) -> dict[str, Any]:
        write_mirror(tmp_path / name, {"test": [{**GOOD, **first}, GOOD, GOOD], "train": [GOOD]})
        if by_mirror:
            return {"data_dir": tmp_path / name}
        data = tmp_path / name / "toy/choice/default/test.jsonl.gz"
        definition = CHOICE_TASK.replace("training_split: train\n", "").replace(
            "toy/choice", f"json\ndataset_kwargs: {{data_files: {{test: {data}}}}}"
        )
        (tmp_path / name / "task.yaml").write_text(definition)
        return {"data_dir": None, "include_path": tmp_path / name}

    empty = source("empty", {"choices": ["a", "", "c", "d"]})
    with pytest.raises(InputError, match="task 'toy_choice', item 0: choice 1 is empty"):
        run(checkpoints[0], ["toy_choice"], **empty)
    assert run(checkpoints[0], ["toy_choice"], skip_empty=True, **empty).rows[0]["n_items"] == 2
    for gold in (-1, 4):
        with pytest.raises(InputError, match=f"task 'toy_choice', item 0: the answer {gold}"):
            run(checkpoints[0], ["toy_choice"], **source(f"gold{gold}", {"gold": gold}))


def test_white_space_is_text_as_it_is_for_lm_eval(
    checkpoints: list[Path], run: Callable[..., EvaluationReport], tmp_path: Path
) -> None:
    write_mirror(tmp_path / "mirror", {"test": [{**GOOD, "choices": ["a", " ", "c", "d"]}, GOOD], "train": [GOOD]})
    for skip_empty in (False, True):
        report = run(checkpoints[0], ["toy_choice"], data_dir=tmp_path / "mirror", skip_empty=skip_empty)
        assert report.rows[0]["n_items"] == 2


def test_a_single_choice_is_no_question(checkpoints: list[Path], run: Callable[..., EvaluationReport], tmp_path: Path) -> None:
    single = {**GOOD, "choices": ["a"]}
    write_mirror(tmp_path / "all", {"test": [single, single], "train": [GOOD]})
    with pytest.raises(InputError, match="'toy_choice' has one choice per item"):
        run(checkpoints[0], ["toy_choice"], data_dir=tmp_path / "all")
    write_mirror(tmp_path / "some", {"test": [GOOD, single, GOOD], "train": [GOOD]})
    progress = SilentProgress()
    assert run(checkpoints[0], ["toy_choice"], data_dir=tmp_path / "some", progress=progress).rows[0]["n_items"] == 3
    assert any("1 of 3 items have one choice" in notice and "item 1" in notice for notice in progress.notices)


def test_a_definition_that_cannot_be_read_is_named_with_the_reason(
    checkpoints: list[Path], run: Callable[..., EvaluationReport], tmp_path: Path, only_own_tasks: None
) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/broken.yaml").write_text("task: mine\ndoc_to_text: [unclosed\n")
    with pytest.raises(InputError, match=r"'mine'.*broken\.yaml: ParserError.*line 3"):
        run(checkpoints[0], ["mine"], include_path=tmp_path / "tasks")
    assert not (tmp_path / "results.duckdb").exists()


def test_a_mirror_without_the_split_says_so(
    checkpoints: list[Path], run: Callable[..., EvaluationReport], tmp_path: Path
) -> None:
    write_mirror(tmp_path / "mirror", {"train": [{"question": "why", "choices": ["a", "b"], "gold": 0}]})
    with pytest.raises(InputError, match=r"'test'.*only train"):
        run(checkpoints[0], ["toy_choice"], data_dir=tmp_path / "mirror")
    with pytest.raises(InputError, match="toy/choice"):
        run(checkpoints[0], ["toy_choice"], data_dir=tmp_path)


def test_the_note_speaks_where_flags_do_not(checkpoints: list[Path], world: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(checkpoints[0], tmp_path / "noted"))
    write_note(
        folder,
        CheckpointNote(family="toys", model="toy-s", step=7, tokens=1000, is_final=False, validation_loss=2.5),
    )
    settings: dict[str, Any] = {"tasks": ["toy_choice"], "include_path": world / "tasks", "data_dir": world / "data"}
    [noted] = evaluate([CheckpointRequest(source=str(folder))], db=tmp_path / "a.duckdb", **settings).rows
    assert (noted["family"], noted["model"], noted["step"], noted["tokens"]) == ("toys", "toy-s", 7, 1000)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert noted["params"] == sum(parameter.numel() for parameter in model.parameters())
    assert noted["flops"] == 6 * noted["params"] * 1000
    assert noted["is_final"] is False
    asked = CheckpointRequest(source=str(folder), family="mine", tokens=5, params=10)
    [flagged] = evaluate([asked], db=tmp_path / "b.duckdb", **settings).rows
    assert (flagged["family"], flagged["tokens"], flagged["params"], flagged["flops"]) == ("mine", 5, 10, 300)


def test_lm_evals_own_backends_answer_the_same_requests(checkpoints: list[Path], run: Callable[..., EvaluationReport]) -> None:
    native = run(checkpoints[0], ["toy_choice", "toy_text"]).rows
    through = run(checkpoints[0], ["toy_choice", "toy_text"], backend="lm-eval:hf,batch_size=2").rows
    for ours, theirs in zip(native, through, strict=True):
        assert theirs["backend"] == "lm-eval:hf"
        assert theirs["nll_per_char"] == pytest.approx(ours["nll_per_char"], abs=1e-4)
        assert theirs["acc"] == ours["acc"]
        assert theirs["nll_per_token"] == pytest.approx(ours["nll_per_token"], abs=1e-4)


def test_whatever_a_foreign_backend_raises_is_one_line(
    checkpoints: list[Path], run: Callable[..., EvaluationReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer_nothing(self: Any, requests: Any, **_: Any) -> Any:
        raise TypeError("unsupported operand\n  of a masked model")

    monkeypatch.setattr("lm_eval.models.dummy.DummyLM.loglikelihood", answer_nothing)
    report = run(checkpoints[0], ["toy_choice"], backend="lm-eval:dummy")
    [failure] = report.failures
    assert "'lm-eval:dummy' with toy-0" in failure.error
    assert "TypeError: unsupported operand of a masked model" in failure.error
    with pytest.raises(ForecastError):
        report.raise_failures()


def test_a_backend_without_a_folder_is_stored_and_resumed(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from forecast.workflows import evaluate_family
    from forecast.workflows.evaluate_records import request_of_backend

    settings: dict[str, Any] = {
        "tasks": ["toy_choice"],
        "db": tmp_path / "results.duckdb",
        "include_path": world / "tasks",
        "data_dir": world / "data",
        "backend": "lm-eval:dummy",
    }
    first = evaluate([request_of_backend("lm-eval:dummy")], **settings)
    assert first.rows[0]["n_items"] == 30
    monkeypatch.setattr(evaluate_family, "open_backend", lambda *_, **__: pytest.fail("opened again"))
    assert evaluate([request_of_backend("lm-eval:dummy")], **settings).rows == first.rows


STOCK = {
    "arc_easy": "arc",
    "sciq": "sciq",
    "piqa": "piqa",
    "winogrande": "winogrande",
    "boolq": "super_glue/boolq",
    "copa": "super_glue/copa",
    "openbookqa": "openbookqa",
    "mmlu_anatomy": "mmlu/default",
    "lambada_openai": "lambada",
    "blimp_passive_1": "blimp",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shots", [0, 2])
def test_stock_tasks_run_on_a_mirror_as_lm_eval_runs_them(
    shots: int, data_folder: Path, checkpoints: list[Path], run: Callable[..., EvaluationReport]
) -> None:
    """Requests of stock tasks, rendered by us and by lm-eval's own loop, are the same texts in the same order."""
    import lm_eval.tasks

    from forecast.scoring.rendering import render_task
    from forecast.scoring.task_source import load_tasks

    root = Path(lm_eval.tasks.__file__).parent
    for name, folder in STOCK.items():
        # One folder of definitions: indexing all of lm-eval's takes longer than this test.
        loaded = load_tasks([name], include_path=root / folder, data_dir=data_folder / "benchmarks", on_notice=str)
        task = loaded[name]
        rendered = render_task(task, name=name, num_fewshot=shots, limit=6)
        task.set_fewshot_seed(seed=1234)
        task.build_all_requests(limit=6)
        expected = [instance.args for instance in task.instances]
        assert [(request.context, request.continuation) for request in rendered.requests] == expected, name
        for item, (doc_id, doc) in zip(rendered.record.items, task.doc_iterator(limit=6), strict=True):
            assert item.item_idx == doc_id
            gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
            if rendered.record.output_type == "multiple_choice":
                assert gold in (item.gold, item.choices[item.gold]), name
