"""Opens a checkpoint folder: tokenizer, module, window, parameter counts."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from collections.abc import Sequence
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

from forecast.core.errors import CheckpointError
from forecast.core.failures import say_failure
from forecast.scoring.checkpoint_files import read_config, weight_files
from forecast.scoring.config_limits import check_layers, check_size, read_shapes, whole_number_tensors
from forecast.scoring.devices import DTYPE_NAMES
from forecast.scoring.tokenizer_check import check_tokenizer

DTYPES = {name: getattr(torch, name) for name in DTYPE_NAMES}
_HARMLESS = re.compile(
    r"(?:^|\.)(?:inv_freq|masked_bias|position_ids|token_type_ids|causal_mask|rotary_emb\.(?:cos|sin)_cached)$"
    r"|(?:^|\.)pooler\.|(?:^|\.)seq_relationship\."
)
"""What old files keep besides the weights (positions, rotary frequencies), and heads of other tasks that BERT-like models were
pretrained with."""
_CAUSAL_MASK = re.compile(r"(?:^|\.)(?:attn|attention)\.bias$")
"""A mask where it has four dimensions, as in old files of GPT-2 and GPT-NeoX; a bias of that name would have one."""


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
    unused: tuple[str, ...] = ()
    """Tensors of the files that the model does not take, where the user allowed that."""
    masked: bool = False
    """A masked language model: scored by pseudo-log-likelihood, never mixed with autoregressive scores."""


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """Return the folder's tokenizer.

    Raises:
        CheckpointError: it cannot be built from the folder's files, or cannot encode.
    """
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:
        raise CheckpointError(
            f"the tokenizer in {folder} cannot be loaded: {say_failure(error)}",
            expected="complete tokenizer files",
            remedy="copy the tokenizer's files again",
        ) from error
    check_tokenizer(tokenizer, folder)
    return tokenizer


def load_checkpoint(
    folder: Path,
    *,
    dtype: str,
    device: str,
    device_map: str | None = None,
    trust_remote_code: bool = False,
    allow_unused: bool = False,
) -> LoadedCheckpoint:
    """Return the folder's model, ready to score. Python files of the folder's own run only where they are trusted.

    Raises:
        CheckpointError: the weights are corrupt, incomplete, not those of a causal language model, or hold tensors that the
            model does not take (`allow_unused` lets those pass).
    """
    read_config(folder)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    config = _load_config(folder, trust_remote_code)
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    masked = is_masked(config)
    known = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or (
        trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    )
    if not masked and (not known or getattr(config, "is_encoder_decoder", False)):
        raise CheckpointError(
            f"{folder} holds a model of type '{config.model_type}'",
            expected="a causal or masked language model",
            remedy="other kinds can be scored with `backend=` lm-eval:NAME,ARGS",
        )
    model_class = transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM
    check_layers(folder, config.to_dict(), weight_files(folder))
    check_size(folder, _count_described(folder, config, model_class, trust_remote_code), weight_files(folder))
    model, info = _load_model(
        folder, config, model_class, dtype=dtype, device=device, device_map=device_map, trust_remote_code=trust_remote_code
    )
    unused = _check_tensors(folder, info, allow_unused=allow_unused)
    if getattr(config, "quantization_config", None) is None:
        _check_types(folder, model)
    max_length = window_of(model, tokenizer, masked=masked)
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
        unused=tuple(unused),
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
            remedy = "it needs Python files of its own: read them, then name the model with `trust_remote_code=`"
        raise CheckpointError(
            f"{folder}/config.json: {say_failure(error)}", expected="a configuration of a known model type", remedy=remedy
        ) from error


def is_masked(config: Any) -> bool:
    """Whether a configuration is that of a masked language model (BERT-like), not of a causal one of the same type."""
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "is_decoder", False):
        return False
    names = config.architectures or []
    if config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return False
    return not names or any(name.endswith(("ForMaskedLM", "ForPreTraining")) for name in names)


def window_of(model: Any, tokenizer: Any, *, masked: bool) -> int:
    """Tokens that one forward pass may see, as model and tokenizer together say."""
    return masked_window(model, tokenizer) if masked else int(resolve_max_length(model.config, tokenizer))


def masked_window(model: Any, tokenizer: Any) -> int:
    """Tokens that a masked model may see, special ones counted: RoBERTa-like position tables begin after the padding index."""
    tables = [module for name, module in model.named_modules() if name.endswith("position_embeddings")]
    sizes = [
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for table in tables
        if isinstance(table, torch.nn.Embedding)
    ]
    return min([int(resolve_max_length(model.config, tokenizer)), int(tokenizer.model_max_length), *sizes])


def _count_described(folder: Path, config: Any, model_class: Any, trust_remote_code: bool) -> int:
    """Parameters of the model that a configuration describes, counted without memory for them."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            described = model_class.from_config(copy.deepcopy(config), trust_remote_code=trust_remote_code)
    except Exception as error:
        raise CheckpointError(
            f"{folder}/config.json: a '{config.model_type}' model cannot be built from it: {say_failure(error)}",
            expected="the configuration that the weights were saved with",
        ) from error
    return sum(parameter.numel() for parameter in described.parameters())


def _load_model(
    folder: Path,
    config: Any,
    model_class: Any,
    *,
    dtype: str,
    device: str,
    device_map: str | None,
    trust_remote_code: bool,
) -> tuple[Any, dict[str, Any]]:
    """Return the module in evaluation mode, and the library's report of what fitted and what did not."""
    try:
        model, info = model_class.from_pretrained(
            str(folder),
            config=config,
            dtype=DTYPES[dtype],
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # Reported by name, with all else that does not fit.
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
            f"the weights in {folder} cannot be loaded: {say_failure(error)}",
            expected="complete safetensors files that fit config.json",
            remedy="copy or download the checkpoint again",
        ) from error
    model.eval()
    model.requires_grad_(False)
    return (model if device_map else model.to(device)), info


def _check_tensors(folder: Path, info: dict[str, Any], *, allow_unused: bool) -> list[str]:
    """Refuse weights that do not belong to the configuration; return the unused ones where those are allowed.

    The report leaves out what the library knows to be harmless for the architecture, and matrices that are tied.
    """
    mismatched = sorted(info["mismatched_keys"])
    if mismatched:
        name, found, expected = mismatched[0]
        raise CheckpointError(
            f"{len(mismatched)} tensors in {folder} have another shape than config.json says, e.g. {name} {tuple(found)}",
            expected=str(tuple(expected)),
            remedy="config.json and the weights are not of one model",
        )
    # A checkpoint with both faults is told of the one that no option excuses.
    wrong = sorted(info["missing_keys"])
    if wrong:
        raise CheckpointError(
            f"the weights in {folder} lack {len(wrong)} tensors of the architecture ({_first_three(wrong)})",
            expected="all of them: the library would fill the gaps with random numbers",
            remedy="config.json and the weights are not of one model, or a file is missing",
        )
    unused = sorted(name for name in info["unexpected_keys"] if not _is_harmless(folder, name))
    if unused and not allow_unused:
        raise CheckpointError(
            f"the weights in {folder} have {len(unused)} tensors that the model of config.json does not take "
            f"({_first_three(unused)})",
            expected="none left over: leaving some out would score another model",
            remedy="repair config.json, or, where these tensors do not matter, add `allow_unused_weights=`",
        )
    return unused


def _check_types(folder: Path, model: Any) -> None:
    """Refuse whole numbers where the model takes fractions and its configuration does not say how they were quantised."""
    parameters = {name for name, parameter in model.named_parameters() if parameter.dtype.is_floating_point}
    whole = sorted(whole_number_tensors(weight_files(folder)) & parameters)
    if whole:
        raise CheckpointError(
            f"the weights in {folder} hold {len(whole)} tensors of whole numbers ({_first_three(whole)})",
            expected="floating-point weights, or a quantization_config in config.json that says how to decode them",
            remedy="save the checkpoint in a floating-point type; `quantize=` scores quantised variants of it",
        )


def _is_harmless(folder: Path, name: str) -> bool:
    if _CAUSAL_MASK.search(name):
        shapes = read_shapes(weight_files(folder))
        return shapes is None or len(shapes.get(name, ())) == 4
    return bool(_HARMLESS.search(name))


def _first_three(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _embedding_parameters(model: Any) -> int:
    """Token and position embeddings, and an output matrix that is not tied to them."""
    matrices = {module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    head = model.get_output_embeddings()
    if head is not None:
        matrices.add(head.weight)
    return sum(matrix.numel() for matrix in matrices)
