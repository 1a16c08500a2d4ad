"""Quantised variants of a checkpoint: weight matrices in 8 or 4 bits, through torchao or bitsandbytes where installed.

Embeddings, norms and the output matrix stay in the run's data type, as both libraries do by default. What a variant scores
is kept under a data type of its own (`int8-torchao-float32`), so that it is never mixed with the full model's results.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from forecast.core.errors import CheckpointError, UsageError

_PREFERRED = {"int8": ("torchao", "bitsandbytes"), "int4": ("bitsandbytes", "torchao")}
"""Schemes, and the libraries tried in order when none is named."""
_GROUP = 32
"""torchao int4: weights that share one scale; matrices whose width is not a multiple of it have one scale per row."""


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """One way to quantise."""

    scheme: str
    """int8 or int4."""
    library: str
    """torchao or bitsandbytes."""

    def label(self, dtype: str) -> str:
        """Name of the variant's data type; `dtype` is that of everything not quantised.

        >>> Quantization(scheme="int8", library="torchao").label("float32")
        'int8-torchao-float32'
        """
        return f"{self.scheme}-{self.library}-{dtype}"

    @property
    def library_version(self) -> str:
        """Installed version of the library."""
        return version(self.library)


def settle_quantization(asked: str) -> Quantization:
    """Return what `int8`, `int4` or a full name like `int4-torchao` means on this machine.

    Raises:
        UsageError: the name is unknown, or its library is not installed.
    """
    scheme, _, named = asked.partition("-")
    if scheme not in _PREFERRED or (named and named not in _PREFERRED[scheme]):
        raise UsageError(
            f"`quantize=` {asked}",
            expected=", ".join([*_PREFERRED, *(f"{one}-{library}" for one, tried in _PREFERRED.items() for library in tried)]),
        )
    for library in (named,) if named else _PREFERRED[scheme]:
        if _is_installed(library):
            return Quantization(scheme=scheme, library=library)
    names = (named,) if named else _PREFERRED[scheme]
    raise UsageError(
        f"`quantize=` {asked} needs {' or '.join(names)}, and {'it is not' if named else 'neither is'} installed",
        expected="an optional package",
        remedy=f"pip install {names[0]}",
    )


def _is_installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def quantize_model(model: Any, quantization: Quantization) -> None:
    """Replace the weight matrices of a loaded model, in place.

    Raises:
        CheckpointError: the model has none that can be quantised, or the library refuses them.
    """
    layers = list(_linear_layers(model))
    if not layers:
        raise CheckpointError(
            f"{type(model).__name__} has no linear layers to quantise", expected="torch.nn.Linear or Conv1D modules"
        )
    make = _LIBRARIES[quantization.library]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Both libraries announce kernels that they lack on this machine.
            replace = make(quantization.scheme)
            for parent, name, layer in layers:
                setattr(parent, name, replace(_as_linear(layer)))
            _try_out(model)
    except (ImportError, RuntimeError, ValueError, AssertionError, NotImplementedError) as error:
        raise CheckpointError(
            f"{quantization.library} {quantization.library_version} cannot quantise this model to {quantization.scheme}: "
            f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else 'no reason given'}",
            expected="a library that supports this device and torch version",
            remedy="name the other library, e.g. `quantize=` " + _other(quantization),
        ) from error


@torch.inference_mode()
def _try_out(model: Any) -> None:
    """Two tokens: shapes without a kernel, and modules that read their weights themselves, fail here and not mid-run."""
    device = model.get_input_embeddings().weight.device
    model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=device))


def _other(quantization: Quantization) -> str:
    library = next(one for one in _PREFERRED[quantization.scheme] if one != quantization.library)
    return f"{quantization.scheme}-{library}"


def _linear_layers(model: Any) -> Iterator[tuple[Any, str, Any]]:
    """(parent, attribute, layer) of every linear layer but the output matrix."""
    head = model.get_output_embeddings()
    for parent in model.modules():
        for name, layer in parent.named_children():
            if isinstance(layer, torch.nn.Linear | Conv1D) and layer is not head:
                yield parent, name, layer


def _as_linear(layer: Any) -> torch.nn.Linear:
    """The layer itself, or GPT-2's transposed kind turned round."""
    if isinstance(layer, torch.nn.Linear):
        return layer
    rows, columns = layer.weight.shape
    turned = torch.nn.Linear(rows, columns, bias=layer.bias is not None, device=layer.weight.device, dtype=layer.weight.dtype)
    turned.weight = torch.nn.Parameter(layer.weight.detach().T.contiguous(), requires_grad=False)
    turned.bias = layer.bias
    return turned.eval()


def _with_torchao(scheme: str) -> Callable[[torch.nn.Linear], torch.nn.Module]:
    logging.getLogger("torchao").setLevel(logging.ERROR)
    torchao = importlib.import_module("torchao.quantization")

    def replace(layer: torch.nn.Linear) -> torch.nn.Module:
        if scheme == "int8":
            config = torchao.Int8WeightOnlyConfig()
        else:
            granularity = torchao.PerAxis(0) if layer.in_features % _GROUP else torchao.PerGroup(_GROUP)
            config = torchao.IntxWeightOnlyConfig(weight_dtype=vars(torch)["int4"], granularity=granularity)
        torchao.quantize_(layer, config)
        return layer

    return replace


def _with_bitsandbytes(scheme: str) -> Callable[[torch.nn.Linear], torch.nn.Module]:
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    bitsandbytes = importlib.import_module("bitsandbytes")

    def replace(layer: torch.nn.Linear) -> torch.nn.Module:
        has_bias, device, dtype = layer.bias is not None, layer.weight.device, layer.weight.dtype
        if scheme == "int8":
            made = bitsandbytes.nn.Linear8bitLt(layer.in_features, layer.out_features, bias=has_bias, has_fp16_weights=False)
        else:
            made = bitsandbytes.nn.Linear4bit(
                layer.in_features, layer.out_features, bias=has_bias, compute_dtype=dtype, quant_type="nf4"
            )
        made.load_state_dict(layer.state_dict())
        if has_bias:
            made.bias.data = made.bias.data.to(dtype)
        quantized: torch.nn.Module = made.to(device)  # Moving to a device is what quantises.
        return quantized.requires_grad_(False).eval()

    return replace


_LIBRARIES = {"torchao": _with_torchao, "bitsandbytes": _with_bitsandbytes}
