"""The output matrix and the log-softmax, only at scored positions and in tiles that stay in the processor's cache."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from forecast.scoring.cpu_products import filling, linear, suits

_ROWS = {"cpu": 512, "cuda": 4096}
_VOCABULARY = {"cpu": 2048, "cuda": 32768}
"""Tile of logits. 512 x 2048 float32 is 4 MiB: measured 1.5 to 2 times the product rate of tiles over the whole vocabulary."""


class ScoredHead:
    """A linear head with the scalings that some families put on its logits."""

    def __init__(self, head: Any, config: Any) -> None:
        """`config` is the text configuration; it says whether logits are scaled or capped."""
        self.weight: torch.Tensor = head.weight
        self._bias: torch.Tensor | None = getattr(head, "bias", None)
        self._scale = getattr(config, "logit_scale", None)  # Cohere
        self._divisor = getattr(config, "logits_scaling", None)  # Granite
        self._cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2

    def score(
        self, hidden_SxE: torch.Tensor, row_scored: torch.Tensor, row_target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log p(target) in nats (float64) of each row, and whether the target is the most probable token.

        log p(t) = z_t - log sum_v exp(z_v), the sum taken tile by tile over the vocabulary.

        Args:
            hidden_SxE: trunk outputs at scored positions.
            row_scored: for each row its position in `hidden_SxE`, ascending.
            row_target: for each row the token asked for.
        """
        device = self.weight.device
        row_scored, row_target = row_scored.to(device), row_target.to(device)
        scores = torch.empty(len(row_target), dtype=torch.float64, device=device)
        greedy = torch.empty(len(row_target), dtype=torch.bool, device=device)
        n_rows = _ROWS.get(device.type, _ROWS["cpu"])
        if suits(hidden_SxE):
            hidden_SxE = functional.pad(hidden_SxE, (0, 0, 0, filling(len(hidden_SxE))))
        starts = list(range(0, len(hidden_SxE), n_rows))
        edges = torch.searchsorted(row_scored, torch.tensor([*starts, len(hidden_SxE)], device=device)).tolist()
        for start, first, last in zip(starts, edges[:-1], edges[1:], strict=True):
            tile_SxE = hidden_SxE[start : start + n_rows].to(device)
            rows = slice(first, last)
            scores[rows], greedy[rows] = self._score_tile(tile_SxE, row_scored[rows] - start, row_target[rows])
        return scores.cpu(), greedy.cpu()

    def logits(self, hidden_BxE: torch.Tensor) -> torch.Tensor:
        """(B, V) logits over the whole vocabulary, in at least float32."""
        return self._logits(hidden_BxE.to(self.weight.device), 0, self.weight.shape[0])

    def _score_tile(
        self, hidden_SxE: torch.Tensor, local: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        width = _VOCABULARY.get(hidden_SxE.device.type, _VOCABULARY["cpu"])
        starts = range(0, self.weight.shape[0], width)
        dtype = torch.float64 if hidden_SxE.dtype == torch.float64 else torch.float32
        top_SxC = torch.empty((len(hidden_SxE), len(starts)), dtype=dtype, device=hidden_SxE.device)
        mass_SxC = torch.empty_like(top_SxC)
        at_target = torch.empty(len(target), dtype=dtype, device=hidden_SxE.device)
        leads_tile = torch.empty(len(target), dtype=torch.bool, device=hidden_SxE.device)
        # Rows by target, so that those of one tile of the vocabulary lie together.
        order = torch.argsort(target)
        edges = torch.searchsorted(target[order], torch.tensor([*starts, self.weight.shape[0]], device=target.device)).tolist()
        for c, start in enumerate(starts):
            logits_SxV = self._logits(hidden_SxE, start, start + width)
            top_SxC[:, c] = logits_SxV.amax(-1)
            inside = order[edges[c] : edges[c + 1]]
            logits_RxV, column = logits_SxV[local[inside]], target[inside] - start
            at_target[inside] = logits_RxV.gather(1, column[:, None])[:, 0]
            leads_tile[inside] = logits_RxV.argmax(-1) == column
            # The largest probability within the tile is exp(top) over the tile's mass: softmax is the fastest exponential here.
            mass_SxC[:, c] = torch.softmax(logits_SxV, -1).amax(-1).log_().neg_()
        normaliser_S = torch.logsumexp(top_SxC.double() + mass_SxC.double(), -1)
        greedy = leads_tile & (top_SxC.argmax(-1)[local] == target // width)
        return at_target.double() - normaliser_S[local], greedy

    def _logits(self, hidden_SxE: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Logits of a slice of the vocabulary, in at least float32 from the product on."""
        bias = None if self._bias is None else self._bias[start:stop]
        logits_SxV = linear(hidden_SxE, self.weight[start:stop], bias)
        if logits_SxV.dtype in (torch.bfloat16, torch.float16):
            logits_SxV = logits_SxV.float()
        if self._scale is not None:
            logits_SxV = logits_SxV * self._scale
        if self._divisor is not None:
            logits_SxV = logits_SxV / self._divisor
        if self._cap is not None:
            logits_SxV = torch.tanh(logits_SxV / self._cap) * self._cap
        return logits_SxV
