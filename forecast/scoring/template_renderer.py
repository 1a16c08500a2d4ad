"""Renders the templates of untrusted definitions: in Jinja's sandbox, in a process of their own, for a limited time."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from forecast.core.errors import InputError
from forecast.scoring.template_worker import ENVIRONMENT, HEADER, MAX_CHARS

SECONDS_PER_TEXT = 10.0
"""A text takes microseconds; what takes this long does not end."""


_PATCHING = threading.Lock()
"""lm-eval has one function for all threads."""


class TemplateRenderer:
    """Renders texts as lm-eval's `apply_template` does; the process behind it starts with the first one."""

    def __init__(self, *, seconds_per_text: float = SECONDS_PER_TEXT) -> None:
        """Start nothing yet."""
        self._seconds = seconds_per_text
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> TemplateRenderer:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        process.wait()

    def render(self, template: str, item: Mapping[str, Any]) -> str:
        """Return the template's text for an item.

        Raises:
            InputError: the template is wrong for this item, is refused by the sandbox, takes too long or grows too large.
        """
        shown = " ".join(str(template).split())
        shown = shown if len(shown) <= 100 else shown[:99] + "…"
        # What a template draws at random continues, and moves, the generator that lm-eval's own rendering would.
        state = random.getstate() if "random" in template else None
        try:
            answer = self._ask((template, dict(item), state))
        except (OSError, EOFError, ValueError) as error:
            self.close()
            raise InputError(
                f"the template {shown!r} did not come to an end within {self._seconds:g} seconds, or took the renderer down",
                expected=f"a text of at most {MAX_CHARS:,} characters, at once",
                remedy="simplify the template; one that needs more has to be trusted (`trust_task_code=`)",
            ) from error
        if "error" in answer:
            refused = "SecurityError" in answer["error"]
            raise InputError(
                f"the template {shown!r} cannot be rendered: {answer['error']}",
                expected="a template that keeps to the item's own fields",
                remedy="read it, and pass `trust_task_code=` if it may run code" if refused else "",
            )
        if answer["random"] is not None:
            version, numbers, gauss = answer["random"]
            random.setstate((version, tuple(numbers), gauss))
        return str(answer["text"])

    def _ask(self, request: tuple[str, dict[str, Any], Any]) -> dict[str, Any]:
        process = self._process or self._start()
        content = pickle.dumps(request)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(HEADER.pack(len(content)) + content)
        process.stdin.flush()
        header = process.stdout.read(HEADER.size)
        if len(header) < HEADER.size:
            raise EOFError
        answer: dict[str, Any] = json.loads(process.stdout.read(*HEADER.unpack(header)))
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        # The package's own folder first, and never the working folder: a user may stand in one that is not theirs.
        root = str(Path(__file__).resolve().parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "forecast.scoring.template_worker", str(self._seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        return self._process


@contextmanager
def templates_through(renderer: TemplateRenderer) -> Iterator[None]:
    """Let every template that lm-eval renders meanwhile go through a renderer."""
    import lm_eval.utils

    with _PATCHING:
        stock, environment = lm_eval.utils.apply_template, lm_eval.utils.env
        lm_eval.utils.apply_template = renderer.render
        # Whatever of lm-eval does not come by there meets the sandbox all the same.
        lm_eval.utils.env = ENVIRONMENT
        try:
            yield
        finally:
            lm_eval.utils.apply_template, lm_eval.utils.env = stock, environment
