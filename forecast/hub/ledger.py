"""What this program brought into the cache and may delete again, and what some process uses just now."""

from __future__ import annotations

import contextlib
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

_PROBE_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """One commit's record, kept next to its model in the cache: a JSON line for each file that came under a cache limit.

    Lines are only appended, each in one write, so that processes do not need to agree and a kill costs at most the last line.
    What no line names, or what changed since its line was written, is not this program's to delete.
    """

    folder: Path
    """The model's part of the cache."""
    commit: str

    @property
    def path(self) -> Path:
        """Where the record lies."""
        return self.folder / ".forecast" / self.commit

    def exists(self) -> bool:
        """Whether this program has ever noted anything about the commit."""
        return self.path.is_file()

    def record(self, name: str) -> None:
        """Note that this program put a file into the commit's snapshot."""
        shown = self.folder / "snapshots" / self.commit / name
        # The time tells a link that was made anew by another program from the one that is noted here.
        self._append({"file": name, "changed_ns": shown.lstat().st_mtime_ns})

    def keep(self) -> None:
        """Note that the commit was fetched without a limit: it stays, whoever brought its files."""
        if not self._stays(self._lines()):
            self._append({"stays": True})

    def brought(self) -> dict[str, Path]:
        """Return the files that may be deleted again, by name, as they lie in the snapshot."""
        lines = self._lines()
        if self._stays(lines):
            return {}
        found: dict[str, Path] = {}
        for line in lines:
            name = str(line.get("file") or "")
            shown = self.folder / "snapshots" / self.commit / name
            with contextlib.suppress(OSError):
                if name and shown.lstat().st_mtime_ns == line.get("changed_ns"):
                    found[name] = shown
        return found

    def clear(self) -> None:
        """Forget the commit."""
        self.path.unlink(missing_ok=True)

    def hold(self) -> ExitStack:
        """Keep other processes from deleting the commit until the stack is closed (by the same thread) or this process ends.

        From here on the commit counts as noted, although nothing may have come yet.
        """
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # exported lazily

        stack = ExitStack()
        lock = self.path.with_name(f"{self.commit}.{os.getpid()}-{id(stack)}.use")
        with contextlib.suppress(OSError):  # a cache that cannot be written: nobody deletes from it either
            lock.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
            stack.callback(_remove, lock)
            stack.enter_context(WeakFileLock(lock))
        return stack

    def is_in_use(self) -> bool:
        """Whether some process holds the commit; the traces of killed ones are removed."""
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # exported lazily

        for lock in self.path.parent.glob(f"{self.commit}.*.use"):
            try:
                with WeakFileLock(lock, timeout=_PROBE_SECONDS):
                    lock.unlink(missing_ok=True)
            except (OSError, RuntimeError):  # held by another process, or by another fetcher of this thread
                return True
        return False

    def _append(self, line: dict[str, object]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The break goes first: a line that a kill cut short does not spoil the one that follows it.
        text = "\n" + json.dumps(line) + "\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o664)
        try:
            os.write(handle, text.encode("utf-8"))
        finally:
            os.close(handle)

    def _lines(self) -> list[dict[str, object]]:
        try:
            content = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        lines = []
        for text in content.splitlines():
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict):
                    lines.append(line)
        return lines

    @staticmethod
    def _stays(lines: list[dict[str, object]]) -> bool:
        return any(line.get("stays") for line in lines)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
