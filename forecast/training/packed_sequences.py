"""Packed training sequences in a fixed shuffled order: sample i is the same for every member, process and restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from forecast.core.errors import InputError
from forecast.training.token_cache import TokenCache

if TYPE_CHECKING:
    import torch

MAX_REPEATS = 64
"""A corpus seen more often than this is a mistake: after some 4 passes repeated text hardly teaches (Muennighoff 2023)."""


class PackedSequences:
    """Map-style data set: sample i -> `input_ids` of `context_length` tokens; each pass is shuffled by seed and pass."""

    def __init__(self, cache: TokenCache, *, context_length: int, samples: int, seed: int) -> None:
        """Map the cache.

        Raises:
            InputError: the corpus is shorter than one sequence, or would be repeated more than MAX_REPEATS times.
        """
        self._tokens = cache.open()
        self._context_length = context_length
        self._samples = samples
        self._seed = seed
        self._per_pass = cache.n_tokens // context_length
        if self._per_pass < 1 or samples > MAX_REPEATS * self._per_pass:
            least = -(-samples // MAX_REPEATS) * context_length
            raise InputError(
                f"the corpus has {cache.n_documents} documents with {cache.n_tokens} tokens",
                expected=f"at least {least} tokens for a budget of {samples * context_length}",
                remedy="use more text or lower the card's tokens",
            )
        self._pass = -1
        self._order = np.empty(0, dtype=np.int64)

    @property
    def passes(self) -> float:
        """How often the corpus is seen."""
        return self._samples / self._per_pass

    def __len__(self) -> int:
        """Number of samples."""
        return self._samples

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return sample `index`."""
        import torch

        this_pass, position = divmod(index, self._per_pass)
        if this_pass != self._pass:
            self._pass = this_pass
            self._order = np.random.default_rng([self._seed, this_pass]).permutation(self._per_pass)
        start = int(self._order[position]) * self._context_length
        ids = torch.from_numpy(self._tokens[start : start + self._context_length].astype(np.int64))
        return {"input_ids": ids, "labels": ids}
