"""A member's architecture: its parameters counted from the card, and the transformers model built from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forecast.catalog.training import Architecture, MemberRecipe, TrainingRecipe
from forecast.core.units import (
    FLOPS_PER_PARAM_TOKEN,
    FlopsConvention,
    attention_flops_per_token,
    deepseek_flops_per_token,
    training_flops,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_VOCABULARY_MULTIPLE = 8
"""Rows of the embedding are padded to a multiple of this, so that matrix kernels stay on their fast path."""


@dataclass(frozen=True, kw_only=True)
class ParameterCount:
    """Parameters of one member; tied matrices once."""

    total: int
    non_embedding: int
    """Without the token embedding and an untied output matrix."""


def padded_vocabulary(tokens: int) -> int:
    """Rows of the embedding matrix for a tokenizer with `tokens` entries.

    >>> padded_vocabulary(50277)
    50280
    """
    return -(-tokens // _VOCABULARY_MULTIPLE) * _VOCABULARY_MULTIPLE


def count_parameters(recipe: TrainingRecipe, member: MemberRecipe, vocabulary: int) -> ParameterCount:
    """Count the parameters of `member` with a padded vocabulary of `vocabulary` rows, as the built model has them.

    GPT-NeoX, per layer: 4 d^2 + 4 d (attention), 2 d f + f + d (MLP), 4 d (two LayerNorms); 2 d at the end.
    Llama, per layer: 4 d^2 (attention), 3 d f (MLP), 2 d (two RMSNorms); d at the end.
    """
    d, f = member.hidden_size, member.intermediate_size
    if recipe.architecture is Architecture.GPT_NEOX:
        trunk = member.layers * (4 * d * d + 4 * d + 2 * d * f + f + d + 4 * d) + 2 * d
    else:
        trunk = member.layers * (4 * d * d + 3 * d * f + 2 * d) + d
    embeddings = vocabulary * d * (1 if recipe.tie_embeddings else 2)
    return ParameterCount(total=trunk + embeddings, non_embedding=trunk)


def count_flops(recipe: TrainingRecipe, member: MemberRecipe, count: ParameterCount, tokens: float) -> float:
    """Training FLOPs of `tokens` tokens by the card's convention."""
    if recipe.flops_convention is FlopsConvention.DEEPSEEK_MD:
        return deepseek_flops_per_token(member.layers, member.hidden_size, recipe.context_length) * tokens
    non_embedding = recipe.flops_convention is FlopsConvention.SIX_ND_NON_EMBEDDING
    return training_flops(count.non_embedding if non_embedding else count.total, tokens)


def hardware_flops_per_token(recipe: TrainingRecipe, member: MemberRecipe, count: ParameterCount, vocabulary: int) -> float:
    """FLOPs that a training step really multiplies, per token: 6 (trunk + output matrix) + 12 n_layer d l for attention.

    The convention of PaLM's appendix B (arXiv:2204.02311), which MFU is defined by; the input embedding is a look-up.
    """
    attention = attention_flops_per_token(member.layers, member.hidden_size, recipe.context_length)
    return FLOPS_PER_PARAM_TOKEN * (count.non_embedding + vocabulary * member.hidden_size) + attention


def build_model(recipe: TrainingRecipe, member: MemberRecipe, *, vocabulary: int, end_token: int, seed: int) -> PreTrainedModel:
    """Build the member with fresh weights; equal seeds give equal weights."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    stated: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": member.hidden_size,
        "num_hidden_layers": member.layers,
        "num_attention_heads": member.heads,
        "intermediate_size": member.intermediate_size,
        "max_position_embeddings": recipe.context_length,
        "initializer_range": recipe.initializer_range,
        "tie_word_embeddings": recipe.tie_embeddings,
        "bos_token_id": end_token,
        "eos_token_id": end_token,
        "use_cache": False,
    }
    if recipe.architecture is Architecture.LLAMA:
        return LlamaForCausalLM(LlamaConfig(**stated))
    rotary = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": recipe.rotary_fraction}
    return GPTNeoXForCausalLM(GPTNeoXConfig(**stated, rope_parameters=rotary))
