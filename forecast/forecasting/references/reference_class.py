"""How other families left chance: a base rate for a benchmark on which one's own runs still guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forecast.core.observations import FloatArray

MARGIN = 0.05
"""Accuracy above chance that counts as having left it."""


@dataclass(frozen=True, kw_only=True)
class ReferenceClass:
    """Where other families left chance on one task. Compute in FLOPs."""

    families: int
    left: int
    """Families with a run that is above chance by the margin."""
    earliest: float | None
    """Compute of the first run above chance, of the family that left chance first; None where none did."""
    latest: float | None
    """The same of the family that left it last."""
    still: int
    """Families of which no run has left chance."""
    still_until: float | None
    """Largest compute of these."""

    def sentence(self, task: str, target: float | None = None, probability: float | None = None) -> str:
        """Say it in words, with the probability that the target has left chance."""
        text = f"Of {self.families} other {'family' if self.families == 1 else 'families'} on {task}, {self.left} left chance"
        if self.earliest is not None and self.latest is not None:
            same = self.earliest == self.latest
            text += f" at {self.earliest:.1g} FLOPs" if same else f" between {self.earliest:.1g} and {self.latest:.1g} FLOPs"
        if self.still and self.still_until is not None:
            text += f", {self.still} had not by {self.still_until:.1g}"
        if target is not None and probability is not None:
            text += f"; yours by {target:.1g} with {100 * probability:.0f} %"
        return text + "."


def reference_class(
    flops: Sequence[FloatArray], accuracy: Sequence[FloatArray], chance: float, *, margin: float = MARGIN
) -> ReferenceClass:
    """Count families by where their first run above chance lies.

    Args:
        flops: compute of each family's runs.
        accuracy: their accuracies.
        chance: accuracy of guessing.
        margin: how far above counts.

    >>> import numpy as np
    >>> found = reference_class([np.array([1e21, 1e22]), np.array([1e21])], [np.array([0.26, 0.4]), np.array([0.25])], 0.25)
    >>> found.sentence("mmlu", 1e23, 0.62)
    'Of 2 other families on mmlu, 1 left chance at 1e+22 FLOPs, 1 had not by 1e+21; yours by 1e+23 with 62 %.'
    """
    first, last = [], []
    for compute, values in zip(flops, accuracy, strict=True):
        above = compute[values >= chance + margin]
        if above.size:
            first.append(float(above.min()))
        else:
            last.append(float(compute.max()))
    return ReferenceClass(
        families=len(flops),
        left=len(first),
        earliest=min(first, default=None),
        latest=max(first, default=None),
        still=len(last),
        still_until=max(last, default=None),
    )
