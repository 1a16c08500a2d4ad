"""Shapes of the tensors in a pickled weight file, read without torch and without running anything that the file names.

`torch.save` writes a zip archive whose `data.pkl` rebuilds each tensor from a storage by name. A restricted unpickler lets
exactly those calls through and records their shapes; any other name in the stream is an error. Storages are never read.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forecast.core.errors import CheckpointError

_STORAGE_DTYPES = {
    "FloatStorage": "F32",
    "DoubleStorage": "F64",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "BoolStorage": "BOOL",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
}


@dataclass(frozen=True, kw_only=True)
class PickledTensor:
    """One tensor as the archive describes it."""

    dtype: str
    shape: tuple[int, ...]
    storage: str
    """Name of the archive's entry that holds its numbers; tied matrices share one."""


class _UnknownToUsError(Exception):
    """A part of torch that this reader does not know, and that its own loader may."""


class _ShapeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
            ("torch", "Size"): tuple,
        }
        if (module, name) in allowed:
            return allowed[module, name]
        if module in {"torch", "torch.storage"} and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        if module.partition(".")[0] == "torch":
            raise _UnknownToUsError
        raise pickle.UnpicklingError(f"it names {module}.{name}, which weights do not need")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        kind, dtype, key, *_ = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"it refers to a {kind}")
        return str(dtype), str(key)


def _rebuild_tensor(storage: tuple[str, str], _offset: int, size: tuple[int, ...], *_rest: object) -> PickledTensor:
    return PickledTensor(dtype=storage[0], shape=tuple(int(length) for length in size), storage=storage[1])


def _rebuild_parameter(data: PickledTensor, *_rest: object) -> PickledTensor:
    return data


def read_pickled_shapes(path: Path) -> dict[str, PickledTensor] | None:
    """Return the tensors of a pickled weight file by name.

    None for the format of torch before 1.6, which is not an archive, and for kinds of tensor that this reader does not know.

    Raises:
        CheckpointError: the archive is damaged, or its stream names anything but tensors.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = [entry for entry in archive.namelist() if entry.endswith("/data.pkl") or entry == "data.pkl"]
            with archive.open(name) as stream:
                content = _ShapeUnpickler(stream).load()
    except _UnknownToUsError:
        return None
    except (zipfile.BadZipFile, pickle.UnpicklingError, ValueError, TypeError, EOFError, OSError, LookupError) as error:
        raise CheckpointError(f"{path} does not hold plain weights: {error}", remedy="fetch or copy it again") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} does not hold a mapping of tensors", expected="a state dictionary")
    return {str(key): value for key, value in content.items() if isinstance(value, PickledTensor)}
