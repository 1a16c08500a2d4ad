"""The cards' parameters against transformers' own modules, built without memory from the published shapes."""

from __future__ import annotations

import pytest

from forecast.catalog.families import load_family


def neox(layers: int, width: int, heads: int, vocabulary: int):
    from transformers import GPTNeoXConfig

    return GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
    )


def gpt2(layers: int, width: int, heads: int):
    from transformers import GPT2Config

    return GPT2Config(vocab_size=50257, n_positions=2048, n_embd=width, n_layer=layers, n_head=heads)


def olmo2(layers: int, width: int, heads: int, kv_heads: int, feed_forward: int):
    from transformers import Olmo2Config

    return Olmo2Config(
        vocab_size=100352,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=feed_forward,
    )


def gemma(width: int, layers: int):
    from transformers import GemmaConfig

    heads = width // 128
    return GemmaConfig(
        vocab_size=50304,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=128,
        intermediate_size=4 * width,
        tie_word_embeddings=False,
    )


CASES = [
    *[("pythia", size, neox, shape) for size, shape in {"160m": (12, 768, 12, 50304), "12b": (36, 5120, 40, 50688)}.items()],
    ("polypythias", "14m", neox, (6, 128, 4, 50304)),
    ("polypythias", "31m", neox, (6, 256, 8, 50304)),
    *[
        ("cerebras-gpt", size, gpt2, shape)
        for size, shape in {
            "111m": (10, 768, 12),
            "256m": (14, 1088, 17),
            "590m": (18, 1536, 12),
            "1.3b": (24, 2048, 16),
            "2.7b": (32, 2560, 32),
            "6.7b": (32, 4096, 32),
            "13b": (40, 5120, 40),
        }.items()
    ],
    *[
        ("olmo2", size, olmo2, shape)
        for size, shape in {
            "1b": (16, 2048, 16, 16, 8192),
            "7b": (32, 4096, 32, 32, 11008),
            "13b": (40, 5120, 40, 40, 13824),
            "32b": (64, 5120, 40, 8, 27648),
        }.items()
    ],
    *[("gemstones", f"{w}x{d}", gemma, (w, d)) for w, d in ((256, 23), (384, 36), (512, 14), (1792, 7), (2560, 8), (3072, 12))],
]


@pytest.mark.parametrize(("family", "size", "build", "shape"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_card_counts_are_those_of_the_published_shape(family: str, size: str, build, shape) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(build(*shape))
    embeddings = {module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    embeddings.add(model.get_output_embeddings().weight)
    total = sum(parameter.numel() for parameter in model.parameters())
    card = next(entry for entry in load_family(family).models if entry.size == size)
    assert card.params == total
    assert card.params_non_embedding == total - sum(matrix.numel() for matrix in embeddings)


def test_cerebras_trains_on_twenty_tokens_per_parameter() -> None:
    for model in load_family("cerebras-gpt").models:
        assert model.revisions[-1].tokens == pytest.approx(20 * (model.params or 0), rel=1e-3)


def test_olmo2s_branches_are_named_as_on_the_hub() -> None:
    # Names seen on the hub's pages of the suite.
    published = {
        "7b": ["stage1-step928646-tokens3896B"],
        "13b": ["stage1-step596057-tokens5001B", "stage1-step10000-tokens84B", "stage1-step60000-tokens504B"],
        "32b": ["stage1-step721901-tokens6056B"],
        "1b": ["stage1-step1907359-tokens4001B"],
    }
    models = {model.size: model for model in load_family("olmo2").models}
    for size, names in published.items():
        listed = [revision.name for revision in models[size].revisions]
        assert set(names) <= set(listed)
        assert listed[-1] == "main"
        assert next(entry.name for entry in models[size].revisions if entry.is_final) == names[0]


def test_gemstones_are_named_by_eight_digits() -> None:
    model = load_family("gemstones").models[0]
    names = [revision.name for revision in model.revisions]
    assert names[4] == "step_00002385"
    assert names[-1] == "main"
    assert model.revisions[-1].is_final
    assert len(load_family("gemstones").models) == 22
