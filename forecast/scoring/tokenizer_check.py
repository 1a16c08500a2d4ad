"""Can a tokenizer do its work? What it is asked here costs a millisecond; a wrong answer would cost every score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecast.core.errors import CheckpointError
from forecast.core.failures import say_failure

_PROBE = "The quick brown fox jumps over the lazy dog. 0123456789"
_REMEDY = "copy the tokenizer's files from where the model was published"


def check_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Refuse a tokenizer without a vocabulary, or one that fails on a plain sentence.

    What it makes of the texts that are scored, `count_unknown` sees: a tokenizer of a small made-up world may know no English.

    Raises:
        CheckpointError: as said.
    """
    try:
        own = len(set(tokenizer.get_vocab()) - set(tokenizer.get_added_vocab()))
    except NotImplementedError:
        own = 1  # Byte tokenizers of a few architectures list none.
    except Exception as error:
        raise _broken(folder, f"cannot list its vocabulary: {say_failure(error)}") from error
    if not own:
        raise _broken(folder, "has no vocabulary")
    try:
        tokens = tokenizer([_PROBE], return_attention_mask=False, verbose=False)["input_ids"][0]
    except Exception as error:
        raise _broken(folder, f"cannot encode a sentence: {say_failure(error)}") from error
    if not all(isinstance(token, int) and token >= 0 for token in tokens):
        raise _broken(folder, "does not return token ids")


def count_unknown(tokenizer: Any, scored: NDArray[np.int64]) -> int:
    """Return how many of the scored tokens are unknown to the tokenizer.

    Raises:
        CheckpointError: all of them are: every score would be that of the same token.
    """
    if tokenizer.unk_token_id is None or not len(scored):
        return 0
    unknown = int((scored == tokenizer.unk_token_id).sum())
    if unknown == len(scored):
        raise CheckpointError(
            f"all {unknown:,} tokens to score are unknown to the tokenizer ('{tokenizer.unk_token}')",
            expected="the tokenizer that the model was trained with",
            remedy=_REMEDY,
        )
    # Where the end-of-text token stands for unknown text as well (GPT-2), it may be the text's own.
    return 0 if tokenizer.unk_token_id in {tokenizer.eos_token_id, tokenizer.bos_token_id} else unknown


def _broken(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(f"the tokenizer in {folder} {what}", expected="complete tokenizer files", remedy=_REMEDY)
