"""transformers' losses load without scipy's optimisers, and those that need one still work."""

from __future__ import annotations

import subprocess
import sys

_LOAD = """
import sys
from forecast.scoring.light_losses import load_losses
load_losses()
assert "scipy.optimize" not in sys.modules
from transformers.loss import loss_for_object_detection
rows, columns = loss_for_object_detection.linear_sum_assignment([[1, 0], [0, 1]])
assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])
import scipy.optimize
assert scipy.optimize is sys.modules["scipy.optimize"] and callable(scipy.optimize.curve_fit)
"""
_AFTERWARDS = """
import scipy.optimize
before = scipy.optimize
from forecast.scoring.light_losses import load_losses
load_losses()
import sys
assert sys.modules["scipy.optimize"] is before
from transformers.loss import loss_for_object_detection
assert loss_for_object_detection.linear_sum_assignment is before.linear_sum_assignment
"""


def test_the_optimisers_are_loaded_when_a_loss_asks_for_them() -> None:
    subprocess.run([sys.executable, "-c", _LOAD], check=True, capture_output=True, text=True)


def test_optimisers_that_are_there_already_are_used() -> None:
    subprocess.run([sys.executable, "-c", _AFTERWARDS], check=True, capture_output=True, text=True)
