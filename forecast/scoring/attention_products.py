"""Attention of some queries over some keys, with the log-sum-exp that joins it exactly with the same queries' other keys."""

from __future__ import annotations

from collections.abc import Callable

import torch

MASKED = -1e9
"""Added to a score that must not count; finite, so that a fully masked row stays a number and gets weight exp(-1e9) = 0."""

Product = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def product_for(device: torch.device, softcap: float | None) -> Product:
    """Return the product to use: (query, key, value, mask, scale, causal) -> output (B, H, Q, D), log-sum-exp (B, H, Q)."""
    return _flash if device.type == "cpu" and softcap is None else _written_out(softcap)


def additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Zero where a query may look, `MASKED` elsewhere; of the same shape."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, MASKED)


def equally_wide(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Zeros appended to the narrower heads: latent attention (DeepSeek) has values of another size than its keys."""
    widest = max(tensor.shape[-1] for tensor in tensors)
    return [
        tensor if tensor.shape[-1] == widest else torch.nn.functional.pad(tensor, (0, widest - tensor.shape[-1]))
        for tensor in tensors
    ]


def _flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Torch's fused CPU kernel, called by name because it alone also returns the log-sum-exp (B, H, Q)."""
    part, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, causal, attn_mask=mask, scale=scale
    )
    return part, weight


def _written_out(softcap: float | None) -> Product:
    def product(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float, causal: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if softcap is None:
            scores = query @ key.transpose(-1, -2) * scale
        else:
            scores = torch.tanh(query @ key.transpose(-1, -2) * (scale / softcap)).mul_(softcap)
        # The mask and the sum of exponentials need float32's range.
        scores = scores if scores.dtype == torch.float64 else scores.float()
        if causal:
            hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu_(1)
            scores.masked_fill_(hidden, MASKED)
        if mask is not None:
            scores += mask
        weight = scores.logsumexp(-1)
        return scores.sub_(weight[..., None]).exp_().to(value.dtype) @ value, weight

    return product
