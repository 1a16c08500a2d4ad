"""One download while something else goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from forecast.core.errors import HubError


class BackgroundDownload:
    """One download in a daemon thread: an interrupted program ends at once, and what is on disk is resumed."""

    def __init__(self, action: Callable[[], Path]) -> None:
        self._result: Path | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(action,), name="forecast-prefetch", daemon=True)
        self._thread.start()

    def _run(self, action: Callable[[], Path]) -> None:
        try:
            self._result = action()
        except BaseException as error:  # noqa: BLE001  handed to whoever asks for the result
            self._error = error

    def wait(self) -> Path:
        """Return the folder, or raise what the download raised."""
        while self._thread.is_alive():
            # Short joins keep Ctrl-C answered.
            self._thread.join(timeout=0.2)
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise HubError("a download ended without a result", remedy="run the command again (it resumes)")
        return self._result
