"""The tasks of an evaluation, written out: every prompt, choice and answer; those known from before only when needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from forecast.core.memory_reuse import loading
from forecast.core.progress import Progress
from forecast.scoring.rendering import render_task
from forecast.scoring.requests import RenderedTask
from forecast.scoring.task_expansion import TaskDefinition
from forecast.scoring.task_memory import TaskMemory, task_keys


@dataclass(frozen=True, kw_only=True)
class RenderingSettings:
    """What besides its definition decides how a task is written out."""

    num_fewshot: int | None
    limit: int | None
    fewshot_seed: int
    skip_empty: bool
    data_dir: Path | None
    trust_code: bool
    """Whether a user's definitions may run code of their own."""


def write_out_tasks(
    definitions: Sequence[TaskDefinition], settings: RenderingSettings, progress: Progress
) -> list[RenderedTask]:
    """Return the tasks. Where all are known from before, they are rendered when an item is looked at, and else at once.

    Raises:
        UsageError: a definition needs trust that it does not have, or cannot be asked that way.
        InputError: a task's data is missing or malformed; task and item are named.
    """
    decisive = {name: value for name, value in asdict(settings).items() if name != "data_dir"}
    keys = task_keys(definitions, decisive, settings.data_dir)
    memory = TaskMemory()

    @cache
    def render() -> list[RenderedTask]:
        rendered, notices = render_tasks(definitions, settings, progress)
        memory.keep({key: (task, said) for key, task, said in zip(keys, rendered, notices, strict=True) if key is not None})
        return rendered

    outlines = [memory.recall(key) for key in keys]
    known = [outline for outline in outlines if outline is not None]
    if len(known) < len(outlines):
        return render()
    for notice in dict.fromkeys(notice for outline in known for notice in outline.notices):
        progress.notice(notice)

    def late(position: int) -> RenderedTask:
        return known[position].late_task(lambda: render()[position])

    return [late(position) for position in range(len(known))]


def render_tasks(
    definitions: Sequence[TaskDefinition], settings: RenderingSettings, progress: Progress
) -> tuple[list[RenderedTask], list[list[str]]]:
    """Load each task's data and write it out, one after the other; return the tasks, and what was said of each.

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
    with progress.stage("prompts", len(definitions), "tasks") as bar, TemplateRenderer() as renderer:
        for definition in definitions:
            said: list[str] = []
            with built_task(
                definition,
                data_dir=settings.data_dir,
                trust_code=settings.trust_code,
                renderer=renderer,
                on_notice=said.append,
            ) as task:
                rendered.append(
                    render_task(
                        task,
                        name=definition.name,
                        num_fewshot=settings.num_fewshot,
                        limit=settings.limit,
                        fewshot_seed=settings.fewshot_seed,
                        skip_empty=settings.skip_empty,
                        on_notice=said.append,
                    )
                )
            for text in said:
                progress.notice(text)
            notices.append(said)
            bar.advance()
    return rendered, notices
