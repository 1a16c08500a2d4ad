"""Losses and residual spaces by the names that people write, and back."""

from __future__ import annotations

import numpy as np

from forecast.core.errors import UsageError
from forecast.laws.law import FloatArray, Law, Space
from forecast.laws.losses import BetaBinomial, Binomial, Huber, LeastSquares, Loss, SoftL1

NAMES = ("least-squares", "huber", "soft-l1", "binomial", "beta-binomial")
DEFAULT_HUBER = 1e-3
"""Hoffmann 2022, section D.3."""


def parse_loss(text: str, law: Law, n_items: FloatArray | None) -> Loss:
    """Return the loss called `name` or `name:delta`.

    Raises:
        UsageError: unknown name, a delta that is not a positive number, or a binomial loss without item counts.

    >>> from forecast.laws import get_law
    >>> parse_loss("huber:0.01", get_law("chinchilla"), None)
    Huber(delta=0.01, space=None)
    """
    name, _, detail = text.partition(":")
    name = name.strip().lower().replace("_", "-")
    if not name:
        name = "huber" if law.robust else "least-squares"
    if name not in NAMES:
        raise UsageError(f"there is no loss '{text}'", expected="one of " + ", ".join(NAMES))
    try:
        delta = float(detail) if detail else None
    except ValueError:
        delta = -1.0
    if delta is not None and (name not in ("huber", "soft-l1") or not (np.isfinite(delta) and delta > 0)):
        raise UsageError(f"loss '{text}' is not known", expected="huber:DELTA or soft-l1:DELTA with a positive number")
    if name == "huber":
        return Huber(DEFAULT_HUBER if delta is None else delta)
    if name == "soft-l1":
        return SoftL1() if delta is None else SoftL1(delta)
    if name == "least-squares":
        return LeastSquares()
    if n_items is None:
        raise UsageError(f"loss '{name}' needs the number of items", expected="a column n_items")
    return Binomial(n_items) if name == "binomial" else BetaBinomial(n_items)


def loss_title(loss: Loss) -> str:
    """Name a loss with its delta, for reports.

    >>> loss_title(Huber(0.01))
    'huber (delta 0.01)'
    """
    return f"{loss.name} (delta {loss.delta:g})" if isinstance(loss, Huber | SoftL1) else loss.name


def parse_space(text: str | None) -> Space | None:
    """Return the residual space of this name; None stays None.

    Raises:
        UsageError: there is none.
    """
    if text is None:
        return None
    try:
        return Space(text.lower())
    except ValueError:
        raise UsageError(f"there is no residual space '{text}'", expected="log or linear") from None
