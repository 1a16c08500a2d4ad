"""What all tests share: the optional folder of real data, and nothing that reaches a network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")


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
