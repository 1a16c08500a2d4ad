"""Names that lm-eval's definitions may have, found in their text: parsing the thousands of files takes ten times as long."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

_CODE = (".py", ".pyc")
_PLAIN = re.compile(rb"""^["']?(?:task|group|tag)["']?:[ \t]*["']?([\w.+-]+)["']?[ \t]*\r?$""", re.MULTILINE)


def scan_definitions(names: Collection[str], folder: Path) -> tuple[set[str], list[str]]:
    """Return the names that a definition below `folder` may have, and most names there are, to suggest one.

    Whatever is named by a definition, or by a file that it includes, stands there letter by letter: a name that no file
    has as a word is unknown. Names that YAML may write in another way (escapes, folded spaces) count as possible.
    """
    written = {name for name in names if not name.isascii() or re.search(r"[\s\"'\\]", name)}
    wanted = {name: re.compile(rb"(?<!\w)" + re.escape(name.encode()) + rb"(?!\w)") for name in names if name not in written}
    plain: set[bytes] = set()
    for parent, _folders, files in os.walk(folder):
        for file in files:
            if not wanted:
                return written, []
            text = b"" if file.endswith(_CODE) else _read(Path(parent, file))
            found = [name for name, word in wanted.items() if name.encode() in text and word.search(text)]
            written.update(found)
            for name in found:
                del wanted[name]
            plain.update(_PLAIN.findall(text))
    return written, sorted(name.decode() for name in plain)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # lm-eval passes over it, too.
        return b""
