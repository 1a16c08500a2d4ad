"""State-space, recurrent, hybrid, mixture and latent-attention models: the generic path's numbers are lm-eval's too."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from forecast.api.evaluate import evaluate
from forecast.core.errors import PartialResultError
from forecast.core.progress import SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.scoring.checkpoint_loading import load_checkpoint
from forecast.scoring.engine import ScoringOptions, score_plan
from forecast.scoring.plan import make_plan
from forecast.scoring.requests import TextRequest
from forecast.scoring.tokenization import Encoder

VOCABULARY = 320
WINDOW = 64
_TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, **_TOKENS}
_WIDE = {**_SMALL, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": WINDOW}
_GROUPED = {**_WIDE, "num_key_value_heads": 2}
_MAMBA = {"mamba_d_state": 8, "mamba_d_head": 8}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}

CONFIGS: dict[str, Callable[[], transformers.PreTrainedConfig]] = {
    "mamba": lambda: transformers.MambaConfig(**_SMALL),
    "mamba2": lambda: transformers.Mamba2Config(**_SMALL, num_heads=8, head_dim=8, state_size=16, n_groups=2, chunk_size=16),
    "falcon_mamba": lambda: transformers.FalconMambaConfig(**_SMALL),
    "rwkv": lambda: transformers.RwkvConfig(**_SMALL, attention_hidden_size=32, intermediate_size=48, context_length=WINDOW),
    "recurrent_gemma": lambda: transformers.RecurrentGemmaConfig(
        **_SMALL,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        head_dim=8,
        lru_width=32,
        attention_window_size=16,
        block_types=["recurrent", "attention"],
    ),
    "jamba": lambda: transformers.JambaConfig(
        **_GROUPED,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        num_experts=2,
        num_experts_per_tok=1,
        mamba_d_state=8,
        use_mamba_kernels=False,
    ),
    "falcon_h1": lambda: transformers.FalconH1Config(
        **_GROUPED, **_MAMBA, head_dim=8, mamba_d_ssm=32, mamba_n_heads=4, mamba_chunk_size=16
    ),
    "qwen3_next": lambda: transformers.Qwen3NextConfig(
        **_GROUPED,
        **_EXPERTS,
        head_dim=8,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention"],
        num_experts=2,
        shared_expert_intermediate_size=16,
    ),
    "lfm2": lambda: transformers.Lfm2Config(**_GROUPED, layer_types=["conv", "full_attention"]),
    "gpt_neo": lambda: transformers.GPTNeoConfig(
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        max_position_embeddings=WINDOW,
        attention_types=[[["global", "local"], 1]],
        window_size=12,
        **_TOKENS,
    ),
    "mpt": lambda: transformers.MptConfig(d_model=32, n_heads=4, n_layers=2, max_seq_len=WINDOW, **_TOKENS),
    "gpt_oss": lambda: transformers.GptOssConfig(
        **_GROUPED, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=12
    ),
    "mixtral": lambda: transformers.MixtralConfig(**_GROUPED, num_local_experts=4, num_experts_per_tok=2),
    "deepseek_v3": lambda: transformers.DeepseekV3Config(
        **_WIDE,
        **_EXPERTS,
        num_key_value_heads=4,
        n_routed_experts=4,
        n_group=1,
        topk_group=1,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=8,
        first_k_dense_replace=1,
        n_shared_experts=1,
    ),
}
PACKED = {"mixtral", "deepseek_v3"}
"""The others take the generic path, and say so."""

FEWSHOT = "Q: does the cat sit?\nA: yes\n\n"
PAIRS = [
    *((f"{FEWSHOT}Q: is the barn red?\nA:", f" {choice}") for choice in ("yes", "no", "perhaps not")),
    ("the cat ", "sat on the mat"),
    ("", "the red barn"),
    ("naïve 北京", " 東京 🙃"),
    ("the dog ran" * 30, " to the mat"),
    ("q", "r"),
]


@pytest.fixture(scope="module")
def make_other(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: transformers.PreTrainedTokenizerFast
) -> Callable[[str], Path]:
    def make(architecture: str) -> Path:
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = transformers.AutoModelForCausalLM.from_config(CONFIGS[architecture]())
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.9 / parameter.shape[-1] ** 0.5))
        folder = tmp_path_factory.mktemp(architecture)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.mark.parametrize("architecture", [name for name in CONFIGS if name != "mpt"])
def test_every_request_agrees_with_lm_eval(architecture: str, make_other: Callable[[str], Path]) -> None:
    checkpoint = load_checkpoint(make_other(architecture), dtype="float32", device="cpu")
    requests = [TextRequest(item_idx=i, choice_idx=0, context=ctx, continuation=cont) for i, (ctx, cont) in enumerate(PAIRS)]
    encoded = Encoder(checkpoint.tokenizer, max_length=checkpoint.max_length).encode_requests(requests)
    notices: list[str] = []
    ours, greedy = np.full(len(PAIRS), np.nan), np.zeros(len(PAIRS), dtype=bool)
    for done in score_plan(checkpoint, make_plan(encoded), ScoringOptions(), on_notice=notices.append, name_request=str):
        ours[done.request], greedy[done.request] = done.loglikelihood, done.is_greedy
    theirs = HFLM(pretrained=checkpoint.model, tokenizer=checkpoint.tokenizer, batch_size=1)
    asked = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(PAIRS)]
    expected = theirs.loglikelihood(asked, disable_tqdm=True)
    np.testing.assert_allclose(ours, [value for value, _ in expected], atol=1e-3)
    assert greedy.tolist() == [flag for _, flag in expected]
    assert bool(notices) == (architecture not in PACKED), notices


def test_a_state_space_model_is_evaluated_end_to_end(make_other: Callable[[str], Path], tmp_path: Path) -> None:
    text = tmp_path / "note.txt"
    text.write_text("the cat sat on the mat.\n<|endoftext|>\nthe dog ran to the red barn.\n", encoding="utf-8")
    progress = SilentProgress()
    request = CheckpointRequest(source=str(make_other("mamba2")), tokens=1000)
    report = evaluate([request], tasks=[], text_files=[text], db=tmp_path / "x.duckdb", progress=progress)
    report.raise_failures()
    (row,) = report.rows
    assert (row["n_items"], row["backend"]) == (2, "native")
    assert row["flops"] == 6.0 * float(str(row["params"])) * 1000
    assert any("plain way" in notice for notice in progress.notices)


def test_a_model_that_cannot_run_does_not_stop_the_others(make_other: Callable[[str], Path], tmp_path: Path) -> None:
    """MPT's position bias ends at its own window, which its configuration names as no other one does."""
    text = tmp_path / "note.txt"
    text.write_text("the cat sat on the mat. " * 200, encoding="utf-8")
    folders = [make_other("mpt"), make_other("mamba")]
    report = evaluate(
        [CheckpointRequest(source=str(folder)) for folder in folders],
        tasks=[],
        text_files=[text],
        db=tmp_path / "x.duckdb",
        progress=SilentProgress(),
    )
    assert [row["model"] for row in report.rows] == [folders[1].name]
    with pytest.raises(PartialResultError, match="mpt0 failed while computing its forward pass: RuntimeError"):
        report.raise_failures()
