"""Opens a checkpoint folder: tokenizer, module, window, parameter counts."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from lm_eval.models.utils import resolve_max_length
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from forecast.core.errors import CheckpointError, UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class LoadedCheckpoint:
    """A module in evaluation mode on its device, with what scoring must know of it."""

    model: Any
    tokenizer: Any
    max_length: int
    """Tokens that one forward pass may see."""
    params: int
    """All parameters, tied matrices once."""
    params_non_embedding: int
    architecture: str
    device: str
    masked: bool = False
    """A masked language model: scored by pseudo-log-likelihood, never mixed with autoregressive scores."""


def settle_device(device: str) -> str:
    """Return the device that `auto` stands for.

    Raises:
        UsageError: the device is unknown or not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = device.split(":")[0]
    if kind not in {"cpu", "cuda"}:
        raise UsageError(f"device '{device}'", expected="auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device 'cuda', and torch sees no CUDA device", expected="a machine with one", remedy="use --device cpu"
        )
    return device


def settle_dtype(dtype: str, device: str) -> str:
    """Return the data type that `auto` stands for: float32 on the CPU, bfloat16 on CUDA.

    Raises:
        UsageError: the type is unknown.
    """
    if dtype == "auto":
        return "float32" if device == "cpu" else "bfloat16"
    if dtype not in DTYPES:
        raise UsageError(f"dtype '{dtype}'", expected="auto, " + ", ".join(DTYPES))
    return dtype


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """Return the folder's tokenizer.

    Raises:
        CheckpointError: it cannot be built from the folder's files.
    """
    try:
        return transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:
        raise CheckpointError(
            f"the tokenizer in {folder} cannot be loaded: {_first_line(error)}", expected="complete tokenizer files"
        ) from error


def load_checkpoint(
    folder: Path, *, dtype: str, device: str, device_map: str | None = None, trust_remote_code: bool = False
) -> LoadedCheckpoint:
    """Return the folder's model, ready to score. Python files of the folder's own run only where they are trusted.

    Raises:
        CheckpointError: the weights are corrupt, incomplete, or not those of a causal language model.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    config = _load_config(folder, trust_remote_code)
    masked = is_masked(config)
    known = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or (
        trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    )
    if not masked and (not known or getattr(config, "is_encoder_decoder", False)):
        raise CheckpointError(
            f"{folder} holds a model of type '{config.model_type}'",
            expected="a causal or masked language model",
            remedy="other kinds can be scored with --backend lm-eval:NAME,ARGS",
        )
    model_class = transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM
    model = _load_model(
        folder, config, model_class, dtype=dtype, device=device, device_map=device_map, trust_remote_code=trust_remote_code
    )
    max_length = masked_window(model, tokenizer) if masked else int(resolve_max_length(model.config, tokenizer))
    if max_length < 1:
        raise CheckpointError(f"the model in {folder} has a window of {max_length} tokens", expected="at least 1 (config.json)")
    embeddings = _embedding_parameters(model)
    total = sum(parameter.numel() for parameter in model.parameters())
    return LoadedCheckpoint(
        model=model,
        tokenizer=tokenizer,
        max_length=max_length,
        params=total,
        params_non_embedding=total - embeddings,
        architecture=str(config.model_type),
        device=device,
        masked=masked,
    )


def holds_masked_model(folder: Path, *, trust_remote_code: bool = False) -> bool:
    """Whether a folder's configuration is that of a masked language model.

    Raises:
        CheckpointError: the configuration is of no known model type.
    """
    return is_masked(_load_config(folder, trust_remote_code))


def _load_config(folder: Path, trust_remote_code: bool) -> Any:
    try:
        # An explicit False: left to itself, the library would ask on the terminal whether to run the folder's code.
        return transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:
        remedy = ""
        if not trust_remote_code and "trust_remote_code" in str(error):
            remedy = "it needs Python files of its own: read them, then name the model with --trust-remote-code"
        raise CheckpointError(
            f"{folder}/config.json: {_first_line(error)}", expected="a known model type", remedy=remedy
        ) from error


def is_masked(config: Any) -> bool:
    """Whether a configuration is that of a masked language model (BERT-like), not of a causal one of the same type."""
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "is_decoder", False):
        return False
    names = config.architectures or []
    if config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return False
    return not names or any(name.endswith(("ForMaskedLM", "ForPreTraining")) for name in names)


def masked_window(model: Any, tokenizer: Any) -> int:
    """Tokens that a masked model may see, special ones counted: RoBERTa-like position tables begin after the padding index."""
    tables = [module for name, module in model.named_modules() if name.endswith("position_embeddings")]
    sizes = [
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for table in tables
        if isinstance(table, torch.nn.Embedding)
    ]
    return min([int(resolve_max_length(model.config, tokenizer)), int(tokenizer.model_max_length), *sizes])


def _load_model(
    folder: Path,
    config: Any,
    model_class: Any,
    *,
    dtype: str,
    device: str,
    device_map: str | None,
    trust_remote_code: bool,
) -> Any:
    try:
        model, info = model_class.from_pretrained(
            str(folder),
            config=config,
            dtype=DTYPES[dtype],
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # Reported below, by name.
            device_map=device_map,
            trust_remote_code=trust_remote_code,
        )
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"the pickled weights in {folder} hold more than tensors, or are damaged",
            expected="tensors and nothing that runs code",
            remedy="use safetensors files from a source you trust",
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"the weights in {folder} cannot be loaded: {type(error).__name__}: {_first_line(error)}",
            expected="complete safetensors files that fit config.json",
            remedy="copy or download the checkpoint again",
        ) from error
    mismatched = sorted(info["mismatched_keys"])
    if mismatched:
        name, found, expected = mismatched[0]
        raise CheckpointError(
            f"{len(mismatched)} tensors in {folder} have another shape than config.json says, e.g. {name} {tuple(found)}",
            expected=str(tuple(expected)),
            remedy="config.json and the weights are not of one model",
        )
    surplus = _surplus_layers(model, info["unexpected_keys"])
    if surplus:
        raise CheckpointError(
            f"the weights in {folder} have layers that config.json does not count ({', '.join(surplus[:3])}, ...)",
            expected="as many layers in both: leaving some out would score another model",
        )
    wrong = sorted(info["missing_keys"])
    if wrong:
        raise CheckpointError(
            f"the weights in {folder} lack {len(wrong)} tensors of the architecture ({', '.join(wrong[:3])}, ...)",
            expected="all of them: the library would fill the gaps with random numbers",
        )
    model.eval()
    model.requires_grad_(False)
    return model if device_map else model.to(device)


def _surplus_layers(model: Any, unexpected: Iterable[str]) -> list[str]:
    """Tensors that the architecture does not use though it uses the same ones of other layers."""
    known = {re.sub(r"\d+", "#", name) for name, _ in model.named_parameters()}
    return sorted(name for name in unexpected if re.search(r"\d", name) and re.sub(r"\d+", "#", name) in known)


def _embedding_parameters(model: Any) -> int:
    """Token and position embeddings, and an output matrix that is not tied to them."""
    matrices = {module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    head = model.get_output_embeddings()
    if head is not None:
        matrices.add(head.weight)
    return sum(matrix.numel() for matrix in matrices)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300]
