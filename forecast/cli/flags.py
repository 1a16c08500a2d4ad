"""Arguments as the command line spells them: below, a message says `tokens=`; whoever typed a command reads --tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable

from forecast.core.errors import ARGUMENT

_OTHER_NAMES = {
    "budgets": "flops",
    "columns": "x",
    "fixed": "fix",
    "models": "model",
    "replicates": "bootstrap",
    "table": "checkpoints-table",
    "target_flops": "flops",
    "task": "tasks",
    "tasks": "task",
}
"""Where an option is not called what its argument is; the other name counts where the command lacks the first."""
_options: set[str] = set()
"""Of the command that runs, without dashes."""


def remember_options(spelled: Iterable[str]) -> None:
    """Note the options (`--tokens`) of the command that is about to run."""
    _options.clear()
    _options.update(option.lstrip("-") for option in spelled)


def flag(argument: str) -> str:
    """Return the option for an argument of the library.

    >>> remember_options(["--model", "--num-fewshot"])
    >>> flag("num_fewshot"), flag("models")
    ('--num-fewshot', '--model')
    """
    name, other = argument.replace("_", "-"), _OTHER_NAMES.get(argument)
    return f"--{other if name not in _options and other in _options else name}"


def with_flags(text: str) -> str:
    """Write every argument in a message as its option, where the command has one; other text stays, a name of that shape too.

    >>> remember_options(["--flops", "--params"])
    >>> with_flags("give `flops=`, or `params=` with `tokens=`")
    'give --flops, or --params with `tokens=`'
    """
    return re.sub(ARGUMENT, lambda found: option if (option := flag(found[1]))[2:] in _options else found[0], text)
