"""Under which id and name the store has a checkpoint: found before anything is loaded, never changed in silence."""

from __future__ import annotations

from pathlib import Path

from forecast.evaluation.lookup import look_up
from forecast.evaluation.records import CheckpointName, ResultStore
from forecast.scoring.checkpoint_files import checkpoint_identity, identity_without_tokenizer, tokenizer_identity


def folder_checkpoint_id(store: ResultStore, folder: Path) -> str:
    """Return the id of a folder's checkpoint: of weights, configuration and tokenizer together.

    Earlier versions left the tokenizer out. What they stored goes on under its id where the store says that it was scored with
    this very tokenizer and no other; else the folder is a checkpoint of its own, and scored anew.
    """
    earlier = identity_without_tokenizer(folder)
    rows = look_up(store, f"SELECT DISTINCT tokenizer_hash FROM checkpoint_records WHERE checkpoint_id = '{earlier}'")
    if [row["tokenizer_hash"] for row in rows] == [tokenizer_identity(folder)] and not any(folder.glob("*.py")):
        return earlier
    return checkpoint_identity(folder)


def stored_name(store: ResultStore, checkpoint_id: str) -> CheckpointName | None:
    """Return the name under which the store has a checkpoint; None where it has none."""
    rows = look_up(store, f"SELECT family, model FROM checkpoints WHERE checkpoint_id = '{checkpoint_id}'")
    return CheckpointName(family=str(rows[0]["family"]), model=str(rows[0]["model"])) if rows else None
