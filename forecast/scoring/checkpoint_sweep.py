"""Opens one checkpoint after the other: the module is built once and re-filled as long as the architecture stays the same."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from forecast.core.errors import CheckpointError, ForecastError
from forecast.core.user_files import open_user_file
from forecast.scoring.checkpoint_files import parse_json_file, tokenizer_identity, weight_files
from forecast.scoring.checkpoint_loading import LoadedCheckpoint, load_checkpoint, load_tokenizer, window_of
from forecast.scoring.config_limits import read_shapes, whole_number_tensors
from forecast.scoring.quantization import Quantization, quantize_model

_VOLATILE_FIELDS = frozenset({"_name_or_path", "transformers_version", "torch_dtype", "dtype", "_commit_hash"})
"""Fields of config.json that do not change what is computed."""
_READ_BYTES = 8 << 20


class CheckpointSweep:
    """Holds at most one model."""

    def __init__(
        self,
        *,
        dtype: str,
        device: str,
        device_map: str | None = None,
        quantization: Quantization | None = None,
        allow_unused: bool = False,
    ) -> None:
        """All checkpoints are opened with this data type, on this device; `allow_unused` as in `load_checkpoint`."""
        self._dtype = dtype
        self._device = device
        self._device_map = device_map
        self._quantization = quantization
        self._allow_unused = allow_unused
        self._loaded: LoadedCheckpoint | None = None
        self._config: dict[str, Any] = {}
        self._tokenizer_hash = ""
        self._names: dict[str, str] = {}
        self._left_out: frozenset[str] = frozenset()
        """Tensors of the files that are in no parameter: buffers that the library knows to be harmless, and unused ones."""
        self._unused: frozenset[str] = frozenset()
        self._reader: threading.Thread | None = None

    def open(self, folder: Path, *, trust_remote_code: bool = False) -> LoadedCheckpoint:
        """Return the folder's model; the one returned before is overwritten. Its own Python files run only where trusted.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        config = _stable_config(folder)
        before, self._loaded = self._loaded, None  # A failure below leaves no half-filled model behind.
        loaded: LoadedCheckpoint | None = None
        alike = bool(self._names) and not trust_remote_code and config == self._config and _is_safetensors(folder)
        if before is not None and alike and _fill(before.model, folder, self._names, self._left_out):
            tokenizer = self._tokenizer(folder, before)
            loaded = replace(
                before,
                tokenizer=tokenizer,
                max_length=window_of(before.model, tokenizer, masked=before.masked),
                unused=tuple(sorted(self._unused & _stored_names(folder))),
            )
        if loaded is None:
            before = None  # Free the old weights before the new ones are read.
            loaded = load_checkpoint(
                folder,
                dtype=self._dtype,
                device=self._device,
                device_map=self._device_map,
                trust_remote_code=trust_remote_code,
                allow_unused=self._allow_unused,
            )
            self._config = config
            plain = self._device_map is None and self._quantization is None and not trust_remote_code
            self._names = _map_tensors(loaded.model, folder) if plain else {}
            self._left_out = _stored_names(folder) - self._names.keys() if self._names else frozenset()
            self._unused = frozenset(loaded.unused)
            if self._quantization is not None:
                quantize_model(loaded.model, self._quantization)
        self._tokenizer_hash = tokenizer_identity(folder)
        self._loaded = loaded
        return loaded

    def read_ahead(self, files: list[Path]) -> None:
        """Bring weight files into the system's file cache in the background, using no memory of this process."""
        if self._reader is not None and self._reader.is_alive():
            return
        self._reader = threading.Thread(target=_touch, args=(files,), daemon=True)
        self._reader.start()

    def _tokenizer(self, folder: Path, before: LoadedCheckpoint) -> Any:
        return before.tokenizer if tokenizer_identity(folder) == self._tokenizer_hash else load_tokenizer(folder)


def _stable_config(folder: Path) -> dict[str, Any]:
    config = parse_json_file(folder / "config.json", expected="a Hugging Face model configuration")
    return {key: value for key, value in config.items() if key not in _VOLATILE_FIELDS}


def _touch(files: list[Path]) -> None:
    for path in files:
        try:
            with open_user_file(path) as handle:
                while handle.read(_READ_BYTES):
                    pass
        except (OSError, ForecastError):
            return  # Reading ahead is a courtesy; opening the file will report what is wrong with it.


def _stored_names(folder: Path) -> frozenset[str]:
    return frozenset(read_shapes(weight_files(folder)) or ())


def _is_safetensors(folder: Path) -> bool:
    return all(path.suffix == ".safetensors" for path in weight_files(folder))


def _map_tensors(model: Any, folder: Path) -> dict[str, str]:
    """Name in the files -> name in the module, where every parameter is one of the files' tensors, number by number.

    Empty where it is not so: the library splits and merges tensors for some architectures, and those are loaded through it
    every time. A tensor under another name (GPT-NeoX's output matrix) is recognised by its numbers, if only one fits.
    """
    if not _is_safetensors(folder):
        return {}
    state = model.state_dict()
    names: dict[str, str] = {}
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as handle:
            stored = set(handle.keys())
            for name in sorted(stored):
                tensor = handle.get_tensor(name)
                candidates = [name] if name in state else [own for own in state if own not in stored]
                equal = [own for own in candidates if _same(state[own], tensor)]
                if name in state and not equal:
                    return {}
                if len(equal) == 1:
                    names[name] = equal[0]
    filled = {state[own].data_ptr() for own in names.values()}
    return names if all(parameter.data_ptr() in filled for parameter in model.parameters()) else {}


def _same(own: torch.Tensor, tensor: torch.Tensor) -> bool:
    return own.shape == tensor.shape and torch.equal(own, tensor.to(device=own.device, dtype=own.dtype))


@torch.no_grad()
def _fill(model: Any, folder: Path, names: Mapping[str, str], left_out: frozenset[str]) -> bool:
    """Copy the files' tensors into the module; False where the files do not hold exactly the tensors of the mapping.

    A tensor more than those of the mapping and those that the first checkpoint left out is for the loader to judge.

    Raises:
        CheckpointError: a file is corrupt.
    """
    state = model.state_dict()
    filled = 0
    if _stored_names(folder) - left_out != names.keys() or whole_number_tensors(weight_files(folder)) & names.keys():
        return False
    try:
        for path in weight_files(folder):
            with safe_open(path, framework="pt") as handle:
                for name in sorted(set(handle.keys()) & names.keys()):
                    tensor = handle.get_tensor(name)
                    if tensor.shape != state[names[name]].shape:
                        return False
                    state[names[name]].copy_(tensor)
                    filled += 1
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"the weights in {folder} cannot be loaded: {error}",
            expected="complete safetensors files",
            remedy="copy or download the checkpoint again",
        ) from error
    return filled == len(names)
