"""Where the packaged data (cards and SQL) lies: inside an installed wheel, or in the checkout's top-level folders."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from forecast.core.errors import ForecastError


def data_folder(name: str) -> Path:
    """Return the folder `tasks`, `models`, `db/migrations`, ... wherever this installation keeps it.

    Raises:
        ForecastError: neither the installed package nor the checkout holds the folder.
    """
    package_root = Path(str(resources.files("forecast")))
    for root in (package_root / "_data", package_root.parent):
        folder = root / name
        if folder.is_dir():
            return folder
    raise ForecastError(
        f"packaged data folder '{name}' is missing under {package_root}",
        expected="an installed wheel or a complete checkout",
        remedy="reinstall the package",
    )
