"""Figures are written whole, equal ones as equal files, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from forecast.core.errors import InputError
from forecast.report.figure_file import save_figure


def test_folders_are_made_and_equal_figures_are_equal_files(tmp_path: Path) -> None:
    paths = []
    for name in ("one", "two"):
        figure = Figure(figsize=(2, 2))
        figure.subplots().plot([1, 2, 3], [1, 4, 9], "o-")
        paths.append(save_figure(figure, tmp_path / "deep" / f"{name}.svg"))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        save_figure(Figure(figsize=(1, 1)), tmp_path / "file" / "plot.png")
