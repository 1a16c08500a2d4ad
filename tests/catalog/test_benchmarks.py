"""Benchmark cards: the ones that ship agree with lm-eval, and every way a card can be wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from forecast.catalog.benchmarks import benchmark_names, load_benchmark, load_benchmarks, read_benchmark
from forecast.catalog.task_facts import card_of, task_key
from forecast.core.errors import InputError, UsageError

CARD = """\
task: quiz
title: A quiz
lm_eval_task: quiz
num_fewshot: 0
accuracy_metric: acc_norm
nll_metric: nll_per_char
chance: 0.25
items: {value: 12, source: "https://example.org/quiz"}
licence: {value: CC0, source: "https://example.org/quiz"}
source: "https://example.org/quiz"
"""


def test_shipped_cards_are_valid() -> None:
    cards = load_benchmarks()
    assert len(cards) >= 12
    for card in cards:
        assert card.dataset
        assert (card.items is None) == (not card.items_source)
        assert bool(card.licence) == bool(card.licence_source)


def lm_eval_tasks() -> dict[str, dict[str, object]]:
    import lm_eval

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    found: dict[str, dict[str, object]] = {}
    folders = (
        "anli arc arithmetic commonsense_qa glue gsm8k hellaswag humaneval lambada logiqa logiqa2 mathqa mbpp medmcqa medqa"
        " nq_open openbookqa piqa pubmedqa race sciq siqa storycloze super_glue swag triviaqa winogrande wsc273"
    )
    for folder in folders.split():
        for path in (Path(lm_eval.__file__).parent / "tasks" / folder).rglob("*.yaml"):
            content = yaml.load(path.read_text(encoding="utf-8"), Loader)
            if isinstance(content, dict) and isinstance(content.get("task"), str):
                parent = content.get("include")
                base = yaml.load((path.parent / parent).read_text(encoding="utf-8"), Loader) if isinstance(parent, str) else {}
                found[content["task"]] = {**base, **content}
    return found


def test_cards_agree_with_the_stock_tasks() -> None:
    stock = lm_eval_tasks()
    checked = 0
    for card in load_benchmarks():
        if card.lm_eval_task not in stock:
            continue
        task = stock[card.lm_eval_task]
        # Some stock tasks read files of the hub's data set by their address.
        assert task["dataset_path"] == card.dataset or card.dataset in str(task["dataset_kwargs"])
        assert (task.get("dataset_name") or "") == card.dataset_config
        assert task.get("test_split") == card.split or task.get("validation_split") == card.split
        metrics = [entry["metric"] for entry in task["metric_list"]]  # type: ignore[union-attr,index]
        generated = task["output_type"] == "generate_until"
        assert generated or card.accuracy_metric in metrics
        # Where answers are generated or must be the likeliest continuation, guessing scores nothing.
        assert (card.chance == 0) == (generated or task["output_type"] == "loglikelihood")
        choices = task.get("doc_to_choice")
        if isinstance(choices, list):
            assert card.chance == pytest.approx(1 / len(choices))
        checked += 1
    assert checked >= 34


def test_members_are_those_of_the_stock_groups() -> None:
    import lm_eval

    folder = Path(lm_eval.__file__).parent / "tasks"
    for group in ("mmlu", "blimp", "mmlu_pro", "anli", "arithmetic", "minerva_math", "wmdp", "xwinograd"):
        where = folder / "mmlu" / "default" if group == "mmlu" else folder / group
        names = {
            found[1]
            for path in where.glob("*.yaml")
            if (found := re.search(r"""^"?task"?: "?(\w+)"?$""", path.read_text(encoding="utf-8"), re.MULTILINE))
        }
        assert set(load_benchmark(group).members) == names - {"minerva_math500"}, group


def test_no_name_belongs_to_two_cards() -> None:
    seen: dict[str, str] = {}
    for card in load_benchmarks():
        for name in {task_key(name) for name in (card.name, card.lm_eval_task, *card.aliases, *card.members) if name}:
            assert seen.setdefault(name, card.name) == card.name


@pytest.mark.parametrize(
    ("task", "card"),
    [
        ("arc_challenge@5shot", "arc_challenge"),
        ("ARC-Challenge", "arc_challenge"),
        ("arc-c (25-shot)", "arc_challenge"),
        ("hellaswag@10shot", "hellaswag"),
        ("hellaswag_zeroshot", "hellaswag"),
        ("mmlu 5-shot", "mmlu"),
        ("mmlu_anatomy", "mmlu"),
        ("mmlu_pro", "mmlu_pro"),
        ("mmlu_pro_law", "mmlu_pro"),
        ("blimp_wh_island", "blimp"),
        ("anli_r2", "anli"),
        ("logi_qa", "logiqa"),
        ("csqa", "commonsense_qa"),
        ("truthfulqa_mc2", None),
        ("mmlu_pro_plus", None),
        ("arc", None),
        ("", None),
    ],
)
def test_a_card_is_found_by_what_tables_call_its_task(task: str, card: str | None) -> None:
    found = card_of(task)
    assert (found.name if found else None) == card


def test_items_are_those_of_the_real_data(data_folder: Path) -> None:
    import gzip

    checked = 0
    for card in load_benchmarks():
        folder = data_folder / "benchmarks" / card.dataset / (card.dataset_config or "default")
        path = folder / f"{card.split}.jsonl.gz"
        if path.is_file():
            with gzip.open(path, "rb") as handle:
                assert sum(1 for _ in handle) == card.items, card.name
            checked += 1
    assert checked >= 8


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("chance: 0.25", "chance: 25", 7, "field 'chance' is 25; expected a number between 0 and 1"),
        ("accuracy_metric: acc_norm", "accuracy_metric: accuracy", 5, "field 'accuracy_metric' is 'accuracy'"),
        ("num_fewshot: 0", "num_fewshot: none", 4, "field 'num_fewshot' is 'none'"),
        ("items: {value: 12", "items: {value: 0", 8, "field 'items.value' is 0"),
        ("task: quiz", "task: quizz", 1, "the file's name"),
        ("title: A quiz\n", "", 1, "lacks 'title'"),
        ("licence:", "members: [a, a]\nlicence:", 9, "repeats 'a'"),
        ("nll_metric", "nll_metrics", 6, "did you mean 'nll_metric'"),
    ],
)
def test_card_errors_name_file_line_and_field(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    path = tmp_path / "quiz.yaml"
    path.write_text(CARD, encoding="utf-8")
    assert read_benchmark(path).items == 12
    path.write_text(CARD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_benchmark(path)
    assert f"{path}, line {line}:" in str(caught.value)


def test_unknown_benchmarks_get_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'hellaswag'"):
        load_benchmark("helaswag")
    assert load_benchmark("ARC-Easy").name == "arc_easy"
    assert "piqa" in benchmark_names()
