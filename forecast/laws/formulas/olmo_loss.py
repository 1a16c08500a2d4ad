"""OLMo ladder, step 1: task loss of parameters and tokens."""

from __future__ import annotations

from forecast.laws.formulas.chinchilla import Chinchilla
from forecast.laws.law import Input, constants
from forecast.laws.quantities import SMOOTH


class OlmoLoss(Chinchilla):
    """BPB = A / N^alpha + B / D^beta + E."""

    name = "olmo-loss"
    title = "OLMo ladder step 1: task bits per byte of parameters and tokens"
    formula = "BPB = A / N^alpha + B / D^beta + E"
    reference = "Bhagia 2024 (arXiv:2412.04403), eq. 1: Huber delta 1e-3 on log residuals, mean of a run's last 5 checkpoints"
    inputs = (
        Input(
            name="params_non_embedding",
            unit="parameters N, without embeddings in the paper",
            typical=(2e8, 3e9),
            accepts=("params",),
        ),
        Input(name="tokens", unit="training tokens D", typical=(2e9, 6e11)),
    )
    output = "bits per byte of the correct answer"
    outputs = SMOOTH
    typical = constants(A=480.0, B=2100.0, E=0.6, alpha=0.35, beta=0.37)
    published = ()


LAW = OlmoLoss()
