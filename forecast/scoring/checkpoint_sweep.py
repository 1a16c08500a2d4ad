"""Opens one checkpoint after the other: the module is built once and re-filled as long as the architecture stays the same."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from forecast.core.errors import CheckpointError
from forecast.scoring.checkpoint_files import tokenizer_identity, weight_files
from forecast.scoring.checkpoint_loading import LoadedCheckpoint, load_checkpoint, load_tokenizer
from forecast.scoring.quantization import Quantization, quantize_model

_VOLATILE_FIELDS = frozenset({"_name_or_path", "transformers_version", "torch_dtype", "dtype", "_commit_hash"})
"""Fields of config.json that do not change what is computed."""
_READ_BYTES = 8 << 20


class CheckpointSweep:
    """Holds at most one model."""

    def __init__(
        self, *, dtype: str, device: str, device_map: str | None = None, quantization: Quantization | None = None
    ) -> None:
        """All checkpoints are opened with this data type, on this device."""
        self._dtype = dtype
        self._device = device
        self._device_map = device_map
        self._quantization = quantization
        self._loaded: LoadedCheckpoint | None = None
        self._config: dict[str, Any] = {}
        self._tokenizer_hash = ""
        self._maps_directly = False
        self._reader: threading.Thread | None = None

    def open(self, folder: Path, *, trust_remote_code: bool = False) -> LoadedCheckpoint:
        """Return the folder's model; the one returned before is overwritten. Its own Python files run only where trusted.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        config = _stable_config(folder)
        before, self._loaded = self._loaded, None  # A failure below leaves no half-filled model behind.
        if (
            before is not None
            and not trust_remote_code
            and self._maps_directly
            and config == self._config
            and _is_safetensors(folder)
        ):
            _fill(before.model, folder)
            loaded = replace(before, tokenizer=self._tokenizer(folder, before))
        else:
            del before  # Free the old weights before the new ones are read.
            loaded = load_checkpoint(
                folder,
                dtype=self._dtype,
                device=self._device,
                device_map=self._device_map,
                trust_remote_code=trust_remote_code,
            )
            self._config = config
            plain = self._device_map is None and self._quantization is None and not trust_remote_code
            self._maps_directly = plain and _is_direct(loaded.model, folder)
            if self._quantization is not None:
                quantize_model(loaded.model, self._quantization)
        self._tokenizer_hash = tokenizer_identity(folder)
        self._loaded = loaded
        return loaded

    def read_ahead(self, folder: Path) -> None:
        """Bring a folder's weights into the system's file cache in the background, using no memory of this process."""
        if self._reader is not None and self._reader.is_alive():
            return
        self._reader = threading.Thread(target=_touch, args=(weight_files(folder),), daemon=True)
        self._reader.start()

    def _tokenizer(self, folder: Path, before: LoadedCheckpoint) -> Any:
        return before.tokenizer if tokenizer_identity(folder) == self._tokenizer_hash else load_tokenizer(folder)


def _stable_config(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {key: value for key, value in config.items() if key not in _VOLATILE_FIELDS}


def _touch(files: list[Path]) -> None:
    for path in files:
        try:
            with path.open("rb", buffering=0) as handle:
                while handle.read(_READ_BYTES):
                    pass
        except OSError:
            return  # Reading ahead is a courtesy; opening the file will report what is wrong with it.


def _is_safetensors(folder: Path) -> bool:
    return all(path.suffix == ".safetensors" for path in weight_files(folder))


def _is_direct(model: Any, folder: Path) -> bool:
    """Whether the files' tensors are the module's own, name by name and number by number.

    The library renames, splits and merges tensors for some architectures; those are loaded through it every time.
    """
    files = weight_files(folder)
    if not _is_safetensors(folder):
        return False
    state = model.state_dict()
    seen: set[int] = set()
    for path in files:
        with safe_open(path, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118 - no mapping
                own = state.get(name)
                if own is None:
                    continue
                tensor = handle.get_tensor(name)
                if own.shape != tensor.shape or not torch.equal(own, tensor.to(device=own.device, dtype=own.dtype)):
                    return False
                seen.add(own.data_ptr())
    return all(parameter.data_ptr() in seen for parameter in model.parameters())


@torch.no_grad()
def _fill(model: Any, folder: Path) -> None:
    """Copy the files' tensors into the module.

    Raises:
        CheckpointError: a file is corrupt, or lacks a tensor of the architecture.
    """
    state = model.state_dict()
    filled: set[int] = set()
    try:
        for path in weight_files(folder):
            with safe_open(path, framework="pt") as handle:
                for name in handle.keys():  # noqa: SIM118 - no mapping
                    own = state.get(name)
                    if own is not None:
                        own.copy_(_checked(handle.get_tensor(name), own, name, path))
                        filled.add(own.data_ptr())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"the weights in {folder} cannot be loaded: {error}",
            expected="complete safetensors files",
            remedy="copy or download the checkpoint again",
        ) from error
    missing = [name for name, parameter in model.named_parameters() if parameter.data_ptr() not in filled]
    if missing:
        raise CheckpointError(
            f"the weights in {folder} lack {len(missing)} tensors of the architecture ({', '.join(missing[:3])}, ...)",
            expected="the same tensors as in the checkpoint before it",
        )


def _checked(tensor: torch.Tensor, own: torch.Tensor, name: str, path: Path) -> torch.Tensor:
    if tensor.shape != own.shape:
        raise CheckpointError(
            f"{path}: {name} has shape {tuple(tensor.shape)}", expected=f"{tuple(own.shape)}, as config.json says"
        )
    return tensor
