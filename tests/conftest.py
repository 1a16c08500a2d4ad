"""What all tests share: the optional folder of real data, and nothing that reaches a network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every machine and in every run: a change, not chance, makes a test fail.
settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what is remembered between commands out of the user's cache, and out of one session from the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def _find_data() -> Path | None:
    configured = os.environ.get("FORECAST_TEST_DATA")
    candidates = [Path(configured)] if configured else [Path(__file__).resolve().parents[2] / "shared" / "data"]
    return next((folder for folder in candidates if folder.is_dir()), None)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder with real benchmark items, corpora, the Pythia tokenizer and published measurements; skips where absent."""
    folder = _find_data()
    if folder is None:
        pytest.skip("no data folder: set FORECAST_TEST_DATA to a folder with benchmarks/, corpora/, published/")
    return folder
