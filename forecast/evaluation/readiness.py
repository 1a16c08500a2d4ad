"""What `forecast predict` will miss of what was just evaluated, and how to give it: said before somebody runs into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forecast.evaluation.lookup import sql_list
from forecast.evaluation.records import ResultStore

_NEEDED_CHECKPOINTS = 3
_NEEDED_MODELS = 2
_SHOWN = 4


def missing_for_predict(store: ResultStore, rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return one sentence for each thing that a forecast needs and the store does not have; empty when nothing is missing."""
    if not rows:
        return []
    said = []
    without = list(dict.fromkeys(str(row["model"]) for row in rows if row.get("flops") is None))
    if without:
        said.append(
            f"training FLOPs are not known of {_shown(without)}, and a forecast needs them: give `tokens=` (one number for "
            "each `models=`, in their order) or a `table=` with the columns model, params, tokens, and run the same "
            "command again; what is stored is not scored again"
        )
    unsure = list(
        dict.fromkeys(
            str(row["task"])
            for row in rows
            if row.get("chance") is None and row.get("acc") is not None and row.get("output_type") == "multiple_choice"
        )
    )
    if unsure:
        said.append(f"no chance level is known of {_shown(unsure)}: the card of a task can say it (chance: ...)")
    families = sorted({str(row["family"]) for row in rows})
    few = [entry for entry in _counts(store, families) if entry[1] < _NEEDED_CHECKPOINTS or entry[2] < _NEEDED_MODELS]
    if few and len(without) < len({str(row["model"]) for row in rows}):
        said.append(
            f"a forecast needs at least {_NEEDED_CHECKPOINTS} checkpoints of {_NEEDED_MODELS} models with known FLOPs in one "
            "family: "
            + "; ".join(f"family '{family}' has {checkpoints} of {models}" for family, checkpoints, models in few[:_SHOWN])
            + ". Folders that lie together are one family, and `family_name=` names it"
        )
    return said


def _counts(store: ResultStore, families: Sequence[str]) -> list[tuple[str, int, int]]:
    """Family, checkpoints and models with known FLOPs."""
    found = store.lookup(
        "SELECT family, count(DISTINCT checkpoint_id) FILTER (flops IS NOT NULL) AS n_checkpoints, "
        "count(DISTINCT model) FILTER (flops IS NOT NULL) AS n_models "
        f"FROM checkpoints WHERE family IN ({sql_list(families)}) GROUP BY family ORDER BY family"
    )
    return [(str(row["family"]), int(row["n_checkpoints"]), int(row["n_models"])) for row in found]


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} others" if len(names) > _SHOWN else "")
