"""A local mirror of hub data sets: `<mirror>/<hub id>/<config or default>/<split>.jsonl.gz`.

A data set without configurations may also lie at `<mirror>/<hub id>/<split>.jsonl.gz`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from forecast.core.errors import InputError

LOCAL_READERS = frozenset({"json", "csv", "parquet", "text", "arrow"})
"""`dataset_path` values that name a file reader of `datasets`, not a hub data set."""
SPLIT_FIELDS = ("training_split", "validation_split", "test_split", "fewshot_split")


def is_mirrored(config: Mapping[str, Any]) -> bool:
    """Whether a task's items come from the mirror: not where a class, a function or local files bring them."""
    path = config.get("dataset_path")
    return "class" not in config and isinstance(path, str) and path not in LOCAL_READERS and not config.get("custom_dataset")


def find_splits(config: Mapping[str, Any], mirror: Path) -> dict[str, Path]:
    """Return the files of a task's data set by split.

    Raises:
        InputError: the mirror has none.
    """
    path = config["dataset_path"]
    folder = mirror / path / str(config.get("dataset_name") or "default")
    # A data set without configurations may lie in its own folder.
    splits = _splits_in(folder) or ({} if config.get("dataset_name") else _splits_in(mirror / path))
    if not splits:
        raise InputError(
            f"task '{config.get('task')}' needs the data set {path}, and {folder} does not hold any of its splits",
            expected="<split>.jsonl.gz (or .jsonl) files there",
            remedy="add them to the mirror, or leave `data_dir=` away to use the hub",
        )
    return splits


def _splits_in(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for suffix in (".jsonl.gz", ".jsonl"):
        for path in sorted(folder.glob(f"*{suffix}")):
            found.setdefault(path.name.removesuffix(suffix), path)
    return found


def use_mirror(config: Mapping[str, Any], mirror: Path, on_notice: Callable[[str], None]) -> dict[str, Any]:
    """Return a task's configuration with nothing replaced but its data source.

    Raises:
        InputError: the mirror lacks the data set, or the split that is evaluated.
    """
    if not is_mirrored(config):
        return dict(config)
    splits = find_splits(config, mirror)
    return {**config, **_without_missing_splits(config, splits, on_notice), "custom_dataset": _reader_of(splits)}


def _without_missing_splits(
    config: Mapping[str, Any], splits: Mapping[str, Path], on_notice: Callable[[str], None]
) -> dict[str, Any]:
    """Unset the splits that the mirror lacks; the test split may give way to validation, and then says so."""
    changes: dict[str, Any] = {}
    for name in SPLIT_FIELDS:
        split = config.get(name)
        if isinstance(split, str) and split.split("[")[0] not in splits:
            changes[name] = None
    kept = {name: changes.get(name, config.get(name)) for name in SPLIT_FIELDS}
    if not kept["test_split"] and not kept["validation_split"]:
        raise InputError(
            f"task '{config.get('task')}' is evaluated on {config.get('test_split') or config.get('validation_split')!r}, "
            f"and the mirror has only {', '.join(sorted(splits))}",
            expected="the evaluated split as a file",
        )
    if "test_split" in changes:
        on_notice(
            f"{config.get('task')}: the mirror has no '{config['test_split']}' split; "
            f"items come from '{config['validation_split']}'"
        )
    return changes


def _reader_of(splits: Mapping[str, Path]) -> Callable[..., Any]:
    def read_mirror(**_: object) -> Any:
        import datasets

        return datasets.DatasetDict({split: _read_split(path) for split, path in splits.items()})

    return read_mirror


def _read_split(path: Path) -> Any:
    import datasets
    import pyarrow.json

    try:
        # One block holds the file, or a column's type could change between blocks.
        size = max(64 * path.stat().st_size, 1 << 24)
        table = pyarrow.json.read_json(path, read_options=pyarrow.json.ReadOptions(block_size=min(size, 2**31 - 1)))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="one JSON object per line, gzip-compressed") from error
    return datasets.Dataset(table)
