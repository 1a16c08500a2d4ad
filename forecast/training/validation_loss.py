"""Loss on held-out text: mean negative log-likelihood in nats per token over packed sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from forecast.training.token_cache import TokenCache

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from forecast.training.plan import MemberPlan
    from forecast.training.settings import TrainingSettings


def measure_loss(
    model: PreTrainedModel, validation: TokenCache | None, plan: MemberPlan, settings: TrainingSettings
) -> float | None:
    """Mean over the first `settings.validation_sequences` sequences of -log p(token | its predecessors in the sequence).

    The first token of each sequence has no predecessor and is not counted. None without a validation text.
    """
    if validation is None:
        return None
    import torch

    length = plan.recipe.context_length
    count = min(settings.validation_sequences, validation.n_tokens // length)
    if count < 1:
        return None
    tokens = validation.open()
    was_training = model.training
    model.eval()
    total = 0.0
    device = next(model.parameters()).device
    batch = max(1, settings.micro_sequences)
    with torch.inference_mode():
        for start in range(0, count, batch):
            stop = min(count, start + batch)
            ids_np = tokens[start * length : stop * length].astype(np.int64).reshape(stop - start, length)
            ids_BxT = torch.from_numpy(ids_np).to(device)
            logits_BxTxV = model(input_ids=ids_BxT).logits[:, :-1].float()
            total += float(
                torch.nn.functional.cross_entropy(logits_BxTxV.flatten(0, 1), ids_BxT[:, 1:].flatten(), reduction="sum")
            )
    model.train(was_training)
    return total / (count * (length - 1))
