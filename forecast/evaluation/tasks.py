"""The tasks of an evaluation, written out: every prompt, choice and answer; those known from before only when needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

from forecast.core.errors import UsageError
from forecast.core.memory_reuse import loading
from forecast.core.progress import Progress
from forecast.scoring.chat_templates import ChatPrompt, ChatSettings, TokenizerFolder
from forecast.scoring.rendering import render_task
from forecast.scoring.requests import RenderedTask
from forecast.scoring.task_expansion import TaskDefinition
from forecast.scoring.task_memory import TaskMemory, task_keys
from forecast.scoring.task_trust import is_stock


@dataclass(frozen=True, kw_only=True)
class RenderingSettings:
    """What besides its definition decides how a task is written out."""

    num_fewshot: int | None
    """Examples before each question; None leaves each task's own number."""
    limit: int | None
    fewshot_seed: int
    skip_empty: bool
    data_dir: Path | None
    trust_code: bool
    """Whether a user's definitions may run code of their own."""
    sweep: tuple[int, ...] = ()
    """Several numbers of examples instead of one: each makes a task of its own."""
    chat: ChatSettings = field(default_factory=ChatSettings)

    def ways(self, definition: TaskDefinition) -> list[RenderingSettings]:
        """How a task is written out, with one number of examples each; in one way where they change nothing."""
        numbers = self.sweep if takes_examples(definition) else self.sweep[:1] and (0,)
        return [replace(self, num_fewshot=number, sweep=()) for number in numbers] or [self]


def check_shots(num_fewshot: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return the numbers of examples that are asked for, each once; none where each task's own number is meant.

    >>> check_shots(5), check_shots([0, 5, 0]), check_shots(None)
    ((5,), (0, 5), ())

    Raises:
        UsageError: an empty list, or what is not a whole number from 0.
    """
    if num_fewshot is None:
        return ()
    numbers = list(num_fewshot) if isinstance(num_fewshot, Sequence) else [num_fewshot]
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in numbers):
        raise UsageError(f"`num_fewshot=` is {num_fewshot!r}", expected="a whole number from 0, or several such as [0, 5, 25]")
    return tuple(dict.fromkeys(numbers))


def takes_examples(definition: TaskDefinition) -> bool:
    """Whether the number of examples can be chosen: not of a text that is scored as it is, nor where a definition fixes 0."""
    return not _fixes_zero(definition) and definition.config.get("output_type") != "loglikelihood_rolling"


def _fixes_zero(definition: TaskDefinition) -> bool:
    return definition.config.get("num_fewshot") == 0 and "num_fewshot" in definition.config


def write_out_tasks(
    definitions: Sequence[TaskDefinition],
    settings: RenderingSettings,
    progress: Progress,
    *,
    tokenizer: TokenizerFolder | None = None,
) -> list[RenderedTask]:
    """Return the tasks. Where all are known from before, they are rendered when an item is looked at, and else at once.

    `tokenizer` holds the chat template, where one is asked for.

    Raises:
        UsageError: a definition needs trust that it does not have, or cannot be asked that way.
        InputError: a task's data is missing or malformed; task and item are named.
    """
    for definition in definitions:
        if not takes_examples(definition) and (settings.sweep or (settings.num_fewshot and _fixes_zero(definition))):
            progress.notice(f"{definition.name}: asked once, without examples: its definition takes none")
    keys = _keys(_ways(definitions, settings), tokenizer)
    memory = TaskMemory()

    @cache
    def render() -> list[RenderedTask]:
        rendered, notices = render_tasks(definitions, settings, progress, tokenizer)
        if tokenizer is not None and tokenizer.writes_date:
            return rendered
        memory.keep({key: (task, said) for key, task, said in zip(keys, rendered, notices, strict=True) if key is not None})
        return rendered

    outlines = [memory.recall(key) for key in keys]
    known = [outline for outline in outlines if outline is not None]
    if len(known) < len(outlines):
        return _distinct(render())
    for notice in _each_once(outline.notices for outline in known):
        progress.notice(notice)

    def late(position: int) -> RenderedTask:
        return known[position].late_task(lambda: render()[position])

    return _distinct([late(position) for position in range(len(known))])


Way = tuple[TaskDefinition, RenderingSettings]
"""A definition, and one way to write it out."""


def _ways(definitions: Sequence[TaskDefinition], settings: RenderingSettings) -> list[Way]:
    return [(definition, way) for definition in definitions for way in settings.ways(definition)]


def _keys(ways: Sequence[Way], tokenizer: TokenizerFolder | None) -> list[str | None]:
    """The key of each; what all tasks of one number of examples share is looked at once."""
    keys: list[str | None] = [None] * len(ways)
    for number in dict.fromkeys(way.num_fewshot for _, way in ways):
        alike = [position for position, (_, way) in enumerate(ways) if way.num_fewshot == number]
        settings = ways[alike[0]][1]
        decisive = {name: value for name, value in asdict(settings).items() if name != "data_dir"}
        if tokenizer is not None:
            decisive["tokenizer"] = tokenizer.digest
        found = task_keys([ways[position][0] for position in alike], decisive, settings.data_dir)
        for position, key in zip(alike, found, strict=True):
            keys[position] = key
    return keys


def _each_once(texts: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(text for said in texts for text in said))


def _distinct(tasks: Sequence[RenderedTask]) -> list[RenderedTask]:
    """Each task once: whether examples change anything, a task that is a Python class says only when it is written out."""
    return list({task.record.task_id: task for task in tasks}.values())


def render_tasks(
    definitions: Sequence[TaskDefinition],
    settings: RenderingSettings,
    progress: Progress,
    tokenizer: TokenizerFolder | None = None,
) -> tuple[list[RenderedTask], list[list[str]]]:
    """Load each task's data and write it out, number of examples by number; return the tasks, and what was said of each.

    Raises:
        UsageError: a definition needs trust that it does not have, or cannot be asked that way.
        InputError: a task's data is missing or malformed; task and item are named.
    """
    # lm-eval takes a second to import: it is left until something has to be rendered.
    with loading():
        from forecast.scoring.task_building import built_task
        from forecast.scoring.template_renderer import TemplateRenderer

    rendered: list[RenderedTask] = []
    notices: list[list[str]] = []
    heard: list[str] = []
    template = tokenizer.template(settings.chat, heard.append) if tokenizer is not None else None
    chat = ChatPrompt(settings=settings.chat, template=template)
    ways = _ways(definitions, settings)
    with progress.stage("prompts", len(ways), "tasks") as bar, TemplateRenderer() as renderer:
        for definition, way in ways:
            said: list[str] = []
            with built_task(
                definition,
                data_dir=way.data_dir,
                trust_code=way.trust_code,
                renderer=renderer,
                on_notice=said.append,
            ) as task:
                rendered.append(
                    render_task(
                        task,
                        name=definition.name,
                        num_fewshot=way.num_fewshot,
                        limit=way.limit,
                        fewshot_seed=way.fewshot_seed,
                        skip_empty=way.skip_empty,
                        chat=chat,
                        is_trusted=way.trust_code or is_stock(definition),
                        on_notice=said.append,
                    )
                )
            said += heard
            heard.clear()
            for text in said:
                progress.notice(text)
            notices.append(said)
            bar.advance()
    return rendered, notices
