"""What a method is fitted on: rows of one ladder as arrays, with one response per bootstrap replicate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from forecast.core.observations import BoolArray, FloatArray

IntArray = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Points:
    """Where to predict: K points. Unknown numbers are NaN."""

    log_flops: FloatArray
    """(K,)."""
    log_params: FloatArray
    """(K,)."""
    log_tokens: FloatArray
    """(K,)."""


@dataclass(frozen=True, kw_only=True)
class Detail:
    """Every checkpoint before thinning, for recipes that average in their own way; rows of one run in order of compute."""

    run: IntArray
    log_params: FloatArray
    log_tokens: FloatArray
    is_final: BoolArray
    accuracy: FloatArray
    nll: Mapping[str, FloatArray]

    def of_runs(self, runs: IntArray) -> Detail:
        """Return the rows of the named runs."""
        keep = np.isin(self.run, runs)
        return Detail(
            run=self.run[keep],
            log_params=self.log_params[keep],
            log_tokens=self.log_tokens[keep],
            is_final=self.is_final[keep],
            accuracy=self.accuracy[keep],
            nll={name: column[keep] for name, column in self.nll.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Sample:
    """M rows of a ladder, and B replicates of their responses and weights; replicate 0 is the data as measured.

    Rows without a number are NaN; `log_flops` and `accuracy` are always finite.
    """

    log_flops: FloatArray
    """(M,) natural logarithm of C."""
    log_params: FloatArray
    """(M,) natural logarithm of N."""
    log_tokens: FloatArray
    """(M,) natural logarithm of D."""
    run: IntArray
    """(M,) training run of each row, 0..R-1."""
    is_final: BoolArray
    """(M,)."""
    weight: FloatArray
    """(B, M), rows of one run sum to about 1."""
    accuracy: FloatArray
    """(B, M)."""
    sampling_sd: FloatArray
    """(M,) standard deviation of accuracy by the choice of items."""
    nll: Mapping[str, FloatArray]
    """Smooth metric -> (B, M)."""
    chance: float
    """Accuracy of guessing; NaN when unknown."""
    nll_metric: str | None = None
    """The smooth measure that a method with a choice should prefer; None: the first in the table's order."""
    detail: Detail | None = None
    item_correct: FloatArray | None = None
    """(M, I) share of a row's checkpoints that answer each item rightly; None without per-item data."""
    item_nll: Mapping[str, FloatArray] = field(default_factory=dict)
    """Smooth metric -> (M, I)."""
    item_weight: FloatArray | None = None
    """(B, I) how often each replicate draws each item; ones in replicate 0."""

    def __len__(self) -> int:
        """Number of rows."""
        return int(self.log_flops.size)

    @property
    def replicates(self) -> int:
        """Number of replicates B."""
        return int(self.accuracy.shape[0])

    @property
    def n_runs(self) -> int:
        """Number of training runs."""
        return int(np.unique(self.run).size)

    @property
    def floor(self) -> float:
        """Where accuracy starts: chance, or when that is unknown the lowest value seen."""
        return self.chance if np.isfinite(self.chance) else float(max(0.0, np.min(self.accuracy[0])))

    @property
    def points(self) -> Points:
        """Where the rows lie."""
        return Points(log_flops=self.log_flops, log_params=self.log_params, log_tokens=self.log_tokens)

    @property
    def sampling_variance(self) -> float:
        """Sampling variance of accuracy, averaged with the rows' weights."""
        return float(self._share @ np.square(self.sampling_sd))

    def left_over(self, accuracy: FloatArray) -> float:
        """Weighted mean square of the measured accuracies minus (M,) given ones; NaN where one is unknown."""
        return float(self._share @ np.square(accuracy - self.accuracy[0]))

    @property
    def _share(self) -> FloatArray:
        share: FloatArray = self.weight[0] / np.sum(self.weight[0])
        return share

    def lacks_params_tokens(self) -> str | None:
        """Say why a law in N and D cannot be fitted, or None."""
        if not (np.isfinite(self.log_params) & np.isfinite(self.log_tokens)).all():
            return "parameters or tokens of some checkpoints are unknown"
        if np.unique(np.round(self.log_params, 3)).size < 2:
            return "all checkpoints have the same number of parameters"
        return None

    def rows(self, keep: BoolArray | IntArray) -> Sample:
        """Return the named rows."""
        return replace(
            self,
            log_flops=self.log_flops[keep],
            log_params=self.log_params[keep],
            log_tokens=self.log_tokens[keep],
            run=self.run[keep],
            is_final=self.is_final[keep],
            weight=self.weight[:, keep],
            accuracy=self.accuracy[:, keep],
            sampling_sd=self.sampling_sd[keep],
            nll={name: column[:, keep] for name, column in self.nll.items()},
            detail=None if self.detail is None else self.detail.of_runs(self.run[keep]),
            item_correct=None if self.item_correct is None else self.item_correct[keep],
            item_nll={name: matrix[keep] for name, matrix in self.item_nll.items()},
        )

    def point(self) -> Sample:
        """Return the data as measured: replicate 0 alone."""
        return replace(
            self,
            weight=self.weight[:1],
            accuracy=self.accuracy[:1],
            nll={name: column[:1] for name, column in self.nll.items()},
            item_weight=None if self.item_weight is None else self.item_weight[:1],
        )
