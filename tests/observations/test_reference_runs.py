import numpy as np
import pytest

from forecast.catalog.published import load_sources
from forecast.importers import read_observations
from forecast.observations.reference_runs import library_runs, plain_name, table_runs


@pytest.fixture(scope="module")
def library():
    return library_runs()


@pytest.mark.parametrize("card", load_sources(), ids=lambda card: card.name)
def test_a_table_of_the_library_passes_the_checks_of_an_import(card):
    notices = []
    assert len(read_observations(card.table, notice=notices.append)) > 200


def test_runs_are_final_ordered_and_complete(library):
    for runs in library:
        assert np.isfinite(runs.flops).all()
        assert (np.diff(runs.flops) >= 0).all()
        assert ((runs.accuracy >= 0) & (runs.accuracy <= 1)).all()
        assert len(set(runs.model)) == len(runs.model), (runs.family, runs.task)


def test_the_leaderboards_normalised_accuracies_are_named_so(library):
    metrics = {runs.task: runs.metric for runs in library if runs.source == "obsscaling2024"}
    assert (metrics["hellaswag"], metrics["arc_challenge"], metrics["mmlu"]) == ("acc_norm", "acc_norm", "acc")


def test_one_task_has_one_identity_in_all_sources(library):
    sources = {runs.source for runs in library if runs.identity == "commonsenseqa"}
    assert {"gadre2024", "olmo_ladder2024"} <= sources


def test_rows_without_compute_are_left_out_and_said(tmp_path):
    path = tmp_path / "others.csv"
    path.write_text(
        "family,model,task,flops,params,tokens,acc,chance\nA,a1,mmlu,1e21,,,0.3,0.25\nA,a2,mmlu,,1e9,1e11,0.35,0.25\n",
        encoding="utf-8",
    )
    (runs,) = table_runs(path, notice=lambda text: None)
    assert runs.flops.tolist() == [6e20, 1e21]
    assert runs.model == ("a2", "a1")


def test_names_of_one_model_are_alike():
    assert plain_name("EleutherAI/pythia-1.4b") == plain_name("pythia 1.4B") != plain_name("pythia-14b-v2")
