"""Which columns of the measurements a law is fitted to: what the user says, else the task's card, else the law's own order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from forecast.catalog.benchmarks import BenchmarkCard
from forecast.catalog.task_facts import card_of
from forecast.core.errors import UsageError
from forecast.core.metrics import BY_NAME
from forecast.laws import Law
from forecast.laws.quantities import ALL, ERRORS
from forecast.observations.measurements import Measurements


def choose_columns(law: Law, data: Measurements, columns: Mapping[str, str], y: str | None) -> tuple[dict[str, str], str]:
    """Return the column of each input, and that of y.

    Args:
        law: what is fitted.
        data: measurements.
        columns: input -> column, as the user says.
        y: column to predict, as the user says.

    Raises:
        UsageError: a column is missing, an option names none of the law's inputs, or y is not what the law is of.
    """
    names = [entry.name for entry in law.inputs]
    unknown = sorted(set(columns) - set(names))
    if unknown:
        raise UsageError(f"'{law.name}' has no input {', '.join(unknown)}", expected=", ".join(names))
    chosen = {}
    for entry in law.inputs:
        accepted = (entry.name, *in_order(entry.accepts, data.task))
        candidates = (columns[entry.name],) if entry.name in columns else accepted
        present = [name for name in candidates if name in data.columns]
        if not present:
            data.column(candidates[0])
        chosen[entry.name] = present[0]
    if y is not None:
        data.column(y)
        used = [name for name, column in chosen.items() if column == y]
        if used:
            raise UsageError(f"{y} is what '{law.name}' predicts from ({used[0]})", expected="another column in `y=`")
        check_output(law, y)
        return chosen, y
    taken = set(chosen.values())
    wanted = [name for name in in_order(law.outputs, data.task) if name not in taken]
    present = [name for name in wanted if name in data.columns]
    if not present:
        raise UsageError(
            f"{data.source} has nothing that '{law.name}' predicts ({law.output})",
            expected="a column " + " or ".join(wanted),
            remedy="name the column that holds it with `y=`",
        )
    return chosen, present[0]


def check_output(law: Law, y: str) -> None:
    """Refuse a column whose name means something that the law is not of; a name without a meaning is the user's word.

    Raises:
        UsageError: it means something else.
    """
    if y in ALL and y not in law.outputs:
        meant = f", {BY_NAME[y].label}" if y in BY_NAME else ""
        raise UsageError(
            f"'{law.name}' predicts {law.output}, and {y}{meant} is something else",
            expected=" or ".join(law.outputs),
            remedy="rename the column if it holds one of these",
        )


def in_order(names: Sequence[str], task: str) -> list[str]:
    """Return metrics and quantities in order of preference: within a kind, what the task's card names comes first.

    >>> in_order(("loss", "nll_per_char", "nll_choice_norm"), "mmlu"), in_order(("acc", "acc_norm"), "arc_easy")
    (['loss', 'nll_choice_norm', 'nll_per_char'], ['acc_norm', 'acc'])
    """
    card = card_of(task) if task else None
    first = {kind: position for position, kind in reversed(list(enumerate(map(_kind, names))))}
    named = _named(card)
    return sorted(names, key=lambda name: (first[_kind(name)], name not in named, names.index(name)))


def _named(card: BenchmarkCard | None) -> Collection[str]:
    if card is None:
        return ()
    return card.nll_metric, card.accuracy_metric, "error" + card.accuracy_metric.removeprefix("acc")


def _kind(name: str) -> str:
    if name in ERRORS:
        return "error"
    return BY_NAME[name].kind.value if name in BY_NAME else name
