"""What the catalogue knows of a task by its name, in whatever spelling: the card of `ARC-c (25-shot)` is ARC Challenge's."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from forecast.catalog.benchmarks import BenchmarkCard, load_benchmarks

_SHOTS = re.compile(r"[@:/,_\s-]*\(?(?P<shots>\d+|zero)[-_ ]?shots?\)?\s*$", re.IGNORECASE)


def stated_shots(task: str) -> int | None:
    """Return the number of shots that a task's name states, None where it states none.

    >>> stated_shots("arc_challenge@5shot"), stated_shots("hellaswag_zeroshot"), stated_shots("arc_challenge")
    (5, 0, None)
    """
    found = _SHOTS.search(task)
    if found is None:
        return None
    return 0 if found["shots"].lower() == "zero" else int(found["shots"])


def task_key(task: str) -> str:
    """Return what all spellings of a task's name share: shots, case and separators do not count.

    >>> task_key("ARC-Challenge (25-shot)") == task_key("arc_challenge@0shot")
    True
    """
    return re.sub(r"[\W_]+", "", _SHOTS.sub("", task).lower())


@lru_cache(maxsize=4096)
def card_of(task: str) -> BenchmarkCard | None:
    """Return the card of a task: by its name in any spelling, by an alias, or of the group that lists it as a member.

    >>> card_of("arc_challenge@5shot").name, card_of("mmlu_anatomy").name, card_of("mmlu_pro_law").name
    ('arc_challenge', 'mmlu', 'mmlu_pro')
    >>> card_of("ARC-c").name, card_of("mmlu 5-shot").name, card_of("mmlu_no_such_subject")
    ('arc_challenge', 'mmlu', None)
    """
    return _cards_by_key().get(task_key(task))


def same_task(one: str, other: str) -> bool:
    """Whether two names are spellings of one task, shots aside.

    >>> same_task("csqa", "commonsense_qa@0shot"), same_task("mmlu_anatomy", "mmlu")
    (True, False)
    """
    return task_identity(one) == task_identity(other)


@lru_cache(maxsize=4096)
def task_identity(task: str) -> str:
    """Return what all names of a task share: the key of its card where it is the card's own task, never its group's.

    >>> task_identity("csqa") == task_identity("commonsense_qa@0shot")
    True
    """
    key, card = task_key(task), card_of(task)
    if card is None or key in {task_key(member) for member in card.members}:
        return key
    return task_key(card.name)


@cache
def _cards_by_key() -> dict[str, BenchmarkCard]:
    """Every name that a card answers to; a card's own name comes before an alias, an alias before a membership."""
    found: dict[str, BenchmarkCard] = {}
    cards = load_benchmarks()
    for names in (
        [(card.name, card) for card in cards],
        [(name, card) for card in cards for name in (card.lm_eval_task, *card.aliases) if name],
        [(name, card) for card in cards for name in card.members],
    ):
        for name, card in names:
            found.setdefault(task_key(name), card)
    return found
