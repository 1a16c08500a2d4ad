"""Tiny random checkpoints of several architectures, and a tokenizer made on the spot."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 320
_COMMON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": VOCABULARY}
_SPECIAL = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}


@pytest.fixture(scope="session")
def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Byte-level BPE with 320 tokens; no text is unknown to it."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    corpus = ["the cat sat on the mat. the dog ran to the red barn and ate an apple"] * 4
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|endoftext|>", eos_token="<|endoftext|>", model_max_length=10**30
    )


def build_model(architecture: str, *, window: int = 128, seed: int = 0) -> transformers.PreTrainedModel:
    """A tiny random model whose logits are far from uniform, so that a wrong position or mask shows."""
    torch.manual_seed(seed)
    sized = {**_COMMON, **_SPECIAL, "intermediate_size": 48, "max_position_embeddings": window}
    gqa = {**sized, "num_key_value_heads": 2}
    configs: dict[str, Callable[[], transformers.PreTrainedConfig]] = {
        "gpt_neox": lambda: transformers.GPTNeoXConfig(**sized),
        "gpt_neox_serial": lambda: transformers.GPTNeoXConfig(**sized, use_parallel_residual=False),
        "llama": lambda: transformers.LlamaConfig(**gqa),
        "qwen2": lambda: transformers.Qwen2Config(**gqa),
        "qwen3": lambda: transformers.Qwen3Config(**gqa, head_dim=16),
        "mistral": lambda: transformers.MistralConfig(**gqa, sliding_window=12),
        "gemma": lambda: transformers.GemmaConfig(**gqa, head_dim=8),
        "gemma2": lambda: transformers.Gemma2Config(**gqa, head_dim=8, sliding_window=12, query_pre_attn_scalar=8),
        "gemma3": lambda: transformers.Gemma3TextConfig(**gqa, head_dim=8, sliding_window=12, query_pre_attn_scalar=8),
        "olmo": lambda: transformers.OlmoConfig(**gqa),
        "olmo2": lambda: transformers.Olmo2Config(**gqa),
        "gpt2": lambda: transformers.GPT2Config(
            n_embd=32, n_layer=2, n_head=4, n_positions=window, vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0
        ),
        "opt": lambda: transformers.OPTConfig(
            **{**sized, "pad_token_id": 1}, ffn_dim=48, word_embed_proj_dim=32, do_layer_norm_before=True
        ),
        "opt_350m": lambda: transformers.OPTConfig(
            **{**sized, "pad_token_id": 1}, ffn_dim=48, word_embed_proj_dim=16, do_layer_norm_before=False
        ),
        "bloom": lambda: transformers.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=VOCABULARY, **_SPECIAL),
        "falcon_alibi": lambda: transformers.FalconConfig(**_COMMON, **_SPECIAL, alibi=True),
        "mamba": lambda: transformers.MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=VOCABULARY, **_SPECIAL),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModelForCausalLM.from_config(configs[architecture]())
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.9 / parameter.shape[-1] ** 0.5))
    return model.eval()


@pytest.fixture(scope="session")
def make_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: transformers.PreTrainedTokenizerFast
) -> Callable[..., Path]:
    """Save a tiny checkpoint folder: `make_checkpoint("llama", window=64, seed=3)`."""

    def make(architecture: str, *, window: int = 128, seed: int = 0) -> Path:
        folder = tmp_path_factory.mktemp(architecture)
        build_model(architecture, window=window, seed=seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make
