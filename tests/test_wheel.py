"""What is shipped: a wheel with code and packaged data, and with nobody's database in it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    decoy = ROOT / "db" / "users-own.duckdb"
    decoy.write_bytes(b"a user's results")
    try:
        subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
            check=True,
            capture_output=True,
        )
    finally:
        decoy.unlink()
    return next(folder.glob("*.whl"))


def test_cards_and_sql_travel_and_databases_do_not(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for folder in ("tasks", "models", "db/migrations", "db/views", "db/queries"):
        source = {p.relative_to(ROOT).as_posix() for p in (ROOT / folder).rglob("*") if p.is_file()}
        missing = {f"forecast/_data/{name}" for name in source} - set(names)
        assert not missing
        assert source, f"{folder} is empty"
    assert not [name for name in names if name.endswith(".duckdb") or name.startswith(("tests/", "scratch/"))]


def test_the_unpacked_wheel_finds_its_own_data(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from forecast.core.resources import data_folder; print(data_folder('models'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "forecast" / "_data" / "models")
