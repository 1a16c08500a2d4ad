import pytest

from forecast.api.references import references
from forecast.core.errors import UsageError


def test_a_task_is_found_under_any_of_its_names():
    by_alias, by_name = references("csqa"), references("commonsense_qa")
    assert by_alias == by_name
    assert {entry.family for entry in by_name} == {"c4_original", "rpj", "rw_original", "olmo-ladder"}


def test_shots_that_only_a_name_states_are_known():
    assert {entry.num_fewshot for entry in references("mmlu") if entry.task == "mmlu_zeroshot"} == {0}


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'mmlu'"):
        references("mlmu")
