"""Tasks whose prompts depend on the checkpoint's chat template: written out once for each, when a checkpoint is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forecast.core.progress import Progress
from forecast.evaluation.tasks import RenderingSettings, write_out_tasks
from forecast.scoring.chat_templates import TokenizerFolder
from forecast.scoring.requests import RenderedTask
from forecast.scoring.task_expansion import TaskDefinition


@dataclass(kw_only=True)
class ChatTasks:
    """The tasks of an evaluation with chat templates."""

    definitions: Sequence[TaskDefinition]
    settings: RenderingSettings
    progress: Progress
    _written: dict[str, tuple[TokenizerFolder, list[RenderedTask]]] = field(default_factory=dict)

    def write_out(self, folder: Path, *, trusted: bool) -> list[RenderedTask]:
        """Return the tasks as this folder's template writes them; checkpoints whose templates are equal share them.

        Args:
            folder: the checkpoint.
            trusted: whether its tokenizer's own Python may run.

        Raises:
            CheckpointError: its tokenizer has no such template.
            InputError: an item cannot be written out.
        """
        tokenizer = TokenizerFolder(folder, trusted=trusted)
        if tokenizer.digest not in self._written:
            tasks = write_out_tasks(self.definitions, self.settings, self.progress, tokenizer=tokenizer)
            self._written[tokenizer.digest] = tokenizer, tasks
        known, tasks = self._written[tokenizer.digest]
        known.folder = folder  # What is still to be read is read here: earlier folders may have been evicted.
        return tasks
