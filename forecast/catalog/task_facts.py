"""What the catalogue knows of a task by its name, whatever a table calls it: the card of `arc_challenge@5shot` is ARC Challenge's."""

from __future__ import annotations

import re
from functools import lru_cache

from forecast.catalog.benchmarks import BenchmarkCard, benchmark_names, load_benchmark

_SHOTS = re.compile(r"[@:/_-]?\(?(?P<shots>\d+)[-_ ]?shots?\)?$", re.IGNORECASE)


def stated_shots(task: str) -> int | None:
    """Return the number of shots that a task's name states, None where it states none.

    >>> stated_shots("arc_challenge@5shot"), stated_shots("arc_challenge")
    (5, None)
    """
    found = _SHOTS.search(task)
    return int(found["shots"]) if found else None


@lru_cache(maxsize=4096)
def card_of(task: str) -> BenchmarkCard | None:
    """Return the card of a task, of a task with its shots in the name, or of the group that it is a member of.

    >>> card_of("arc_challenge@5shot").name, card_of("mmlu_anatomy").name, card_of("no_such_task")
    ('arc_challenge', 'mmlu', None)
    """
    name = _SHOTS.sub("", task).lower().replace("-", "_")
    known = benchmark_names()
    if name in known:
        return load_benchmark(name)
    # The longest name wins, so that a card for a subgroup is taken before its group's.
    groups = [group for group in known if name.startswith(f"{group}_")]
    return load_benchmark(max(groups, key=len)) if groups else None
