"""Garbage is not looked for while modules load, and is afterwards as before."""

from __future__ import annotations

import gc

import pytest

from forecast.core.memory_reuse import loading


def test_collection_is_off_while_modules_load_and_on_again_whatever_happens() -> None:
    assert gc.isenabled()

    def load() -> None:
        with loading():
            assert not gc.isenabled()
            raise ImportError

    with pytest.raises(ImportError):
        load()
    assert gc.isenabled()


def test_a_caller_that_switched_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_in_another_programs_process_nothing_is_frozen() -> None:
    before = gc.get_freeze_count()
    with loading():
        pass
    assert before or gc.get_freeze_count() == 0
