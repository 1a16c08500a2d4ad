"""Is a fetched checkpoint what its card says it is, and does it speak its siblings' tokens?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from forecast.core.errors import CheckpointError
from forecast.core.progress import Progress, SilentProgress
from forecast.core.records import CheckpointRequest
from forecast.hub.tokenizer_files import tokenizer_behaviour
from forecast.hub.weight_headers import CountedParameters


@dataclass
class SiblingCheck:
    """Call it with each checkpoint once it lies on the disk, before it is scored."""

    progress: Progress = field(default_factory=SilentProgress)
    _first: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Family -> (model first seen, what its tokenizer does)."""
    _reported: set[str] = field(default_factory=set)

    def __call__(self, request: CheckpointRequest, folder: Path, counted: CountedParameters | None) -> None:
        """Report a count that differs from the card's; refuse a tokenizer that differs from the family's first.

        `counted` is what the folder's weights have, None where they do not say.

        Raises:
            CheckpointError: the tokenizer differs, or one of its files is malformed.
        """
        if counted is not None:
            self._compare_counts(request, counted)
        if request.family:
            self._compare_tokenizer(request, folder)

    def _compare_counts(self, request: CheckpointRequest, counted: CountedParameters) -> None:
        pairs = (
            ("parameters", request.params, counted.total),
            ("non-embedding parameters", request.params_non_embedding, counted.non_embedding),
        )
        for what, stated, found in pairs:
            label = f"{request.model or request.source}: {what}"
            if stated is not None and stated != found and label not in self._reported:
                self._reported.add(label)
                off = f"{found / stated - 1:+.2%}"
                self.progress.notice(
                    f"{label}: the weights have {found:,}, the card says {stated:,} ({off}); the card's is used"
                )

    def _compare_tokenizer(self, request: CheckpointRequest, folder: Path) -> None:
        behaviour = tokenizer_behaviour(folder)
        if behaviour is None:
            return
        model, expected = self._first.setdefault(request.family, (request.model or request.source, behaviour))
        if behaviour != expected:
            name = f"{request.model or request.source} {request.revision}".rstrip()
            raise CheckpointError(
                f"{name} splits text otherwise than its sibling {model}",
                expected=f"one tokenizer in the family '{request.family}'",
                remedy="score it on its own with `models=`",
            )
