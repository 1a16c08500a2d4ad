"""The fast way to score: the model's trunk once on a packed row of distinct prefixes, its head only at scored positions."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from forecast.scoring.tree_attention import IMPLEMENTATION, TreeState, UnsupportedAttentionError, tree_state
from forecast.scoring.tree_batches import Batch

HEAD_TILE_BYTES = 16 << 20
"""Logits of one tile: they should stay in the processor's cache between the product and the log-sum-exp."""


class PackedModel:
    """A causal language model seen as trunk and head, with its attention replaced while a batch is computed."""

    def __init__(self, model: Any) -> None:
        """Take the model apart.

        Raises:
            UnsupportedAttentionError: the architecture has attention of its own, or takes no positions.
        """
        self._model = model
        self._trunk = model.base_model
        self._head = model.get_output_embeddings()
        self._config = model.config.get_text_config(decoder=True)
        self._reason = _why_unsupported(model, self._trunk, self._head, self._config)
        if self._reason:
            raise UnsupportedAttentionError(self._reason)
        self._layers = int(self._config.num_hidden_layers)
        self._carried: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    @torch.inference_mode()
    def score_batch(self, batch: Batch, row_target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log p(target) in nats (float64) of the batch's rows, and whether the target was the most probable token.

        Raises:
            UnsupportedAttentionError: a layer did not use the attention it was given.
        """
        embedding = self._model.get_input_embeddings().weight
        state = TreeState(batch, self._carried, embedding.device)
        before = self._config._attn_implementation
        self._config._attn_implementation = IMPLEMENTATION
        try:
            with tree_state(state):
                hidden_TxE = self._trunk(
                    input_ids=torch.from_numpy(batch.tokens)[None].to(embedding.device),
                    position_ids=torch.from_numpy(batch.positions)[None].to(embedding.device),
                    use_cache=False,
                ).last_hidden_state[0]
        finally:
            self._config._attn_implementation = before
        if state.calls != self._layers:
            raise UnsupportedAttentionError(f"{state.calls} of {self._layers} layers attend through the interface")
        self._carried = state.kept
        scored = torch.from_numpy(batch.scored).to(hidden_TxE.device)
        row_scored = torch.from_numpy(batch.row_scored)
        return self._score_rows(hidden_TxE.index_select(0, scored), row_scored, row_target)

    def forget(self) -> None:
        """Drop the carried keys and values."""
        self._carried = {}

    def _score_rows(
        self, hidden_SxE: torch.Tensor, row_scored: torch.Tensor, row_target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Head and log-softmax in tiles of rows; only the normaliser, the maximum and the asked-for logits leave a tile."""
        device = self._head.weight.device
        row_scored, row_target = row_scored.to(device), row_target.to(device)
        tile = max(1, HEAD_TILE_BYTES // (4 * self._head.weight.shape[0]))
        scores = torch.empty(len(row_target), dtype=torch.float64, device=device)
        greedy = torch.empty(len(row_target), dtype=torch.bool, device=device)
        edges = torch.arange(0, len(hidden_SxE) + tile, tile)
        row_edges = torch.searchsorted(row_scored, edges.to(device)).tolist()
        for index, start in enumerate(range(0, len(hidden_SxE), tile)):
            logits_SxV = self._logits(hidden_SxE[start : start + tile].to(device))
            rows = slice(row_edges[index], row_edges[index + 1])
            local, target = row_scored[rows] - start, row_target[rows]
            at_target = logits_SxV[local, target]
            top_S, first_S = logits_SxV.max(-1)
            greedy[rows] = first_S[local] == target
            normaliser_S = logits_SxV.sub_(top_S[:, None]).exp_().sum(-1).log() + top_S
            scores[rows] = at_target.double() - normaliser_S[local].double()
        return scores.cpu(), greedy.cpu()

    def _logits(self, hidden_SxE: torch.Tensor) -> torch.Tensor:
        """The head's product, in at least float32 from there on, with the scalings that some families put on it."""
        logits_SxV: torch.Tensor = self._head(hidden_SxE)
        if logits_SxV.dtype in (torch.bfloat16, torch.float16):
            logits_SxV = logits_SxV.float()
        if (scale := getattr(self._config, "logit_scale", None)) is not None:
            logits_SxV = logits_SxV * scale
        if (divisor := getattr(self._config, "logits_scaling", None)) is not None:
            logits_SxV = logits_SxV / divisor
        if (cap := getattr(self._config, "final_logit_softcapping", None)) is not None:
            logits_SxV = torch.tanh(logits_SxV / cap) * cap
        return logits_SxV


def _why_unsupported(model: Any, trunk: Any, head: Any, config: Any) -> str:
    """Say why an architecture cannot be packed; empty when it can."""
    name = type(model).__name__
    if not getattr(model, "_supports_attention_backend", False):
        return f"{name} does not use transformers' attention interface"
    if trunk is model or not isinstance(head, torch.nn.Linear):
        return f"{name} has no separate trunk and linear head"
    if "position_ids" not in inspect.signature(trunk.forward).parameters:
        return f"{name} takes no position_ids"
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {entry.get("rope_type") for entry in [rope, *rope.values()] if isinstance(entry, dict)}
    if kinds & {"dynamic", "longrope"}:
        return f"{name} changes its rotary positions with the longest input of a batch"
    return ""
