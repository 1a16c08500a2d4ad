"""The program that renders untrusted templates: `python -m forecast.scoring.template_worker`, started by template_renderer.

It reads a template and an item, writes the text, and dies when that takes too long. Jinja's sandbox keeps a template from
reaching Python; the process around it keeps one that never ends, or grows without end, from taking the program along.
"""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import random
import re
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, BinaryIO

from jinja2 import BaseLoader, StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

HEADER = struct.Struct("<Q")
"""Length of the message that follows."""
MAX_CHARS = 16 << 20
"""The longest text; no model's window holds a tenth of it."""
_MAX_BYTES_OF_MEMORY = 2 << 30


def regex_replace(string: str, pattern: str, repl: str, count: int = 0) -> str:
    """lm-eval's own filter (lm_eval/utils.py)."""
    return re.sub(pattern, repl, string, count=count)


ENVIRONMENT = ImmutableSandboxedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
ENVIRONMENT.filters["regex_replace"] = regex_replace
"""lm-eval's own environment, sandboxed."""


@lru_cache(maxsize=256)
def _compile(template: str) -> Template:
    return ENVIRONMENT.from_string(template)


def serve(source: BinaryIO, sink: BinaryIO, *, start_clock: Callable[[], None], stop_clock: Callable[[], None]) -> None:
    """Answer one request after the other until the source ends."""
    while header := source.read(HEADER.size):
        template, item, random_state = pickle.loads(source.read(*HEADER.unpack(header)))
        start_clock()
        try:
            answer = _render(template, item, random_state)
        except MemoryError:
            answer = {"error": "it needs more memory than a text can"}
        except Exception as error:  # noqa: BLE001
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        content = json.dumps(answer).encode("ascii")
        stop_clock()
        sink.write(HEADER.pack(len(content)) + content)
        sink.flush()


def _render(template: str, item: dict[str, Any], random_state: Any) -> dict[str, Any]:
    if random_state is not None:
        random.setstate(random_state)
    text = _compile(template).render(**item)
    if len(text) > MAX_CHARS:
        return {"error": f"its text has {len(text):,} characters, more than {MAX_CHARS:,}"}
    return {"text": text, "random": random.getstate() if random_state is not None else None}


def _limit_resources() -> None:
    """Where the system can: no large memory, no files written, no core dumps."""
    if sys.platform == "win32":
        return
    import resource

    for kind, most in (
        (resource.RLIMIT_AS, _MAX_BYTES_OF_MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def main() -> None:
    """Serve on stdin and stdout; the first argument is the longest time that a template may take, in seconds."""
    seconds = float(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_resources()
    nowhere = open(os.devnull, "w")  # noqa: SIM115, PTH123
    # Its clock runs in a thread of C: it ends a regular expression or a product of strings that holds the interpreter.
    serve(
        sys.stdin.buffer,
        sys.stdout.buffer,
        start_clock=lambda: faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere),
        stop_clock=faulthandler.cancel_dump_traceback_later,
    )


if __name__ == "__main__":
    main()
