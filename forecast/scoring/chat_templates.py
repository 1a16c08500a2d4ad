"""Chat templates: how a tokenizer writes a conversation as one text, by the rules of lm-eval's `hf` backend.

The rules are those of lm_eval/models/huggingface.py (`apply_chat_template`). A template that is chosen by name is really
used: lm-eval only notes its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forecast.core.errors import CheckpointError
from forecast.core.hashing import content_hash, file_hash
from forecast.core.records import Metadata
from forecast.scoring.checkpoint_files import tokenizer_identity

_FILES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates/*.jinja")
_DEFAULT = "default"
_CLOCK = "strftime_now"
"""The function by which a template writes today's date."""

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """What is asked for around a task's own text."""

    template: str | None = None
    """None: no template; empty: the tokenizer's own; else the name of one of its templates."""
    system_instruction: str = ""
    """Put before everything, as lm-eval does with and without a template."""
    as_multiturn: bool = False
    """Whether examples are turns of their own instead of one message of the user."""

    def __bool__(self) -> bool:
        """Whether they change anything."""
        return self.template is not None or bool(self.system_instruction)


@dataclass(frozen=True, kw_only=True, eq=False)
class ChatTemplate:
    """One tokenizer's way to write a conversation."""

    digest: str
    """Hash of the template and of the special tokens that it may write."""
    writes_date: bool
    """Whether prompts may change from one day to the next."""
    write: Callable[[Messages, bool], str]
    """Gives the text of some messages; the flag says whether the model's turn is opened."""

    def __call__(self, messages: Messages, add_generation_prompt: bool = True) -> str:
        """Write messages as lm-eval's `fewshot_context` asks for it."""
        return self.write(messages, add_generation_prompt)


@dataclass(frozen=True, kw_only=True)
class ChatPrompt:
    """How one task is put to one tokenizer."""

    settings: ChatSettings
    template: ChatTemplate | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What lm-eval's `fewshot_context` takes."""
        return {
            "system_instruction": self.settings.system_instruction or None,
            "apply_chat_template": self.template is not None,
            "fewshot_as_multiturn": self.settings.as_multiturn,
            "chat_template": self.template,
        }

    @property
    def identity(self) -> Metadata:
        """What of it defines a result."""
        facts: dict[str, str | bool] = {}
        if self.template is not None:
            facts = {"chat_template": self.template.digest, "fewshot_as_multiturn": self.settings.as_multiturn}
        if self.settings.system_instruction:
            facts["system_instruction"] = self.settings.system_instruction
        return facts


def chat_files_digest(folder: Path) -> str:
    """Hash of all files that a chat template and its special tokens may come from: equal digests write equal prompts."""
    files = sorted(path for pattern in _FILES for path in folder.glob(pattern) if path.is_file())
    return content_hash([tokenizer_identity(folder), [[path.name, file_hash(path)] for path in files]])


def read_chat_template(folder: Path, name: str, *, trust_remote_code: bool, on_notice: Callable[[str], None]) -> ChatTemplate:
    """Return a checkpoint's template.

    Args:
        folder: the checkpoint.
        name: of one of several templates; empty for the tokenizer's own.
        trust_remote_code: whether a tokenizer's own Python may run.
        on_notice: takes what the user should know of the prompts.

    Raises:
        CheckpointError: the tokenizer cannot be loaded, or has no such template.
    """
    from forecast.scoring.checkpoint_loading import load_tokenizer

    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    text = _choose(folder, getattr(tokenizer, "chat_template", None), name)
    said: set[str] = set()

    def notice(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            on_notice(f"{folder.name}: {sentence}")

    if _CLOCK in text:
        notice("its chat template may write today's date; results of different days are then different definitions")
    return ChatTemplate(
        digest=content_hash([text, dict(tokenizer.special_tokens_map)])[:16],
        writes_date=_CLOCK in text,
        write=lambda messages, opened: _write(tokenizer, text, messages, opened, notice),
    )


class TokenizerFolder:
    """Where a checkpoint's template lies; nothing is loaded before something has to be written out."""

    def __init__(self, folder: Path, *, trusted: bool) -> None:
        """Look at the files only; `trusted` says whether a tokenizer's own Python may run."""
        self.folder = folder
        self.digest = chat_files_digest(folder)
        self.writes_date = False
        """Known once the template was read."""
        self._trusted = trusted

    def template(self, settings: ChatSettings, on_notice: Callable[[str], None]) -> ChatTemplate | None:
        """Return the template that is asked for; None where none is.

        Raises:
            CheckpointError: the tokenizer cannot be loaded, or has no such template.
        """
        if settings.template is None:
            return None
        found = read_chat_template(self.folder, settings.template, trust_remote_code=self._trusted, on_notice=on_notice)
        self.writes_date = found.writes_date
        return found


def _choose(folder: Path, templates: Any, name: str) -> str:
    if not templates:
        raise CheckpointError(
            f"the tokenizer in {folder} has no chat template",
            expected="chat_template in tokenizer_config.json, or chat_template.jinja (base models seldom have one)",
            remedy="leave `apply_chat_template=` out, or score a chat model",
        )
    if isinstance(templates, str):
        templates = {_DEFAULT: templates}
    if (name or _DEFAULT) not in templates:
        what = f"no chat template '{name}'" if name else "several chat templates, and none is the default"
        raise CheckpointError(
            f"the tokenizer in {folder} has {what}",
            expected=f"one of {', '.join(sorted(templates))}",
            remedy="name one of them with `apply_chat_template=`",
        )
    return str(templates[name or _DEFAULT])


def _write(tokenizer: Any, template: str, messages: Messages, opened: bool, notice: Callable[[str], None]) -> str:
    from jinja2.exceptions import TemplateError

    def write(some: Messages) -> str:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in some],
            chat_template=template,
            tokenize=False,
            add_generation_prompt=opened,
            continue_final_message=not opened,
        )
        return str(text)

    try:
        return write(messages)
    except TemplateError as error:
        rest = [message for message in messages if message["role"] != "system"]
        if len(rest) == len(messages):
            raise
        text = write(rest)
        notice(f"its chat template takes no system message ({error}); prompts have none, as in lm-eval")
        return text
