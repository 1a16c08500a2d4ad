"""The fast way to score: the model's trunk once on a packed row of distinct prefixes, its head only at scored positions."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.nn import functional

from forecast.scoring.cpu_products import fast_products, filling, replaceable
from forecast.scoring.scored_head import ScoredHead
from forecast.scoring.tree_attention import IMPLEMENTATION, TreeState, UnsupportedAttentionError, tree_state
from forecast.scoring.tree_batches import Batch


class PackedModel:
    """A causal language model seen as trunk and head, with its attention replaced while a batch is computed."""

    def __init__(self, model: Any) -> None:
        """Take the model apart.

        Raises:
            UnsupportedAttentionError: the architecture has attention of its own, or takes no positions.
        """
        self._model = model
        self._trunk = model.base_model
        self._config = model.config.get_text_config(decoder=True)
        head = model.get_output_embeddings()
        if reason := why_unsupported(model, self._trunk, head, self._config):
            raise UnsupportedAttentionError(reason)
        self._head = ScoredHead(head, self._config)
        self._products = replaceable(self._trunk)
        self._layers = int(self._config.num_hidden_layers)
        self._carried: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    @torch.inference_mode()
    def score_batch(self, batch: Batch, row_target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log p(target) in nats (float64) of the batch's rows, and whether the target was the most probable token.

        Raises:
            UnsupportedAttentionError: a layer did not use the attention it was given.
        """
        embedding = self._model.get_input_embeddings().weight
        fill = (0, self.padding(batch))
        state = TreeState(batch, self._carried, embedding.device)
        before = self._config._attn_implementation
        self._config._attn_implementation = IMPLEMENTATION
        try:
            with tree_state(state), fast_products(self._products):
                hidden_TxE = self._trunk(
                    input_ids=functional.pad(torch.from_numpy(batch.tokens), fill)[None].to(embedding.device),
                    position_ids=functional.pad(torch.from_numpy(batch.positions), fill)[None].to(embedding.device),
                    use_cache=False,
                ).last_hidden_state[0]
        finally:
            self._config._attn_implementation = before
        if state.calls != self._layers:
            raise UnsupportedAttentionError(f"{state.calls} of {self._layers} layers attend through the interface")
        if "sliding_attention" in (getattr(self._config, "layer_types", None) or ()) and not state.windows:
            raise UnsupportedAttentionError("layers with a sliding window do not say how wide it is")
        self._carried = state.kept
        scored = torch.from_numpy(batch.scored).to(hidden_TxE.device)
        row_scored = torch.from_numpy(batch.row_scored)
        return self._head.score(hidden_TxE.index_select(0, scored), row_scored, row_target)

    def padding(self, batch: Batch) -> int:
        """Positions appended to a batch, which nothing attends to and nothing is read from."""
        return filling(len(batch.tokens)) if self._products else 0

    def forget(self) -> None:
        """Drop the carried keys and values."""
        self._carried = {}


def why_unsupported(model: Any, trunk: Any, head: Any, config: Any) -> str:
    """Say why an architecture cannot be packed; empty when it can."""
    name = type(model).__name__
    if not getattr(model, "_supports_attention_backend", False):
        return f"{name} does not use transformers' attention interface"
    if trunk is model or not isinstance(head, torch.nn.Linear):
        return f"{name} has no separate trunk and linear head"
    if any(parameter.device.type == "meta" for parameter in model.parameters()):
        return f"{name} is partly offloaded to the CPU or a disk, and moves in only by its own forward pass"
    if "position_ids" not in inspect.signature(trunk.forward).parameters:
        return f"{name} takes no position_ids"
    if getattr(model, "_is_stateful", False):
        return f"{name} passes a state from token to token"
    other = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if other or getattr(config, "attention_chunk_size", None):
        return f"{name} has layers of the kind {', '.join(sorted(other)) or 'chunked attention'}"
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {entry.get("rope_type") for entry in [rope, *rope.values()] if isinstance(entry, dict)}
    if kinds & {"dynamic", "longrope"}:
        return f"{name} changes its rotary positions with the longest input of a batch"
    return ""
