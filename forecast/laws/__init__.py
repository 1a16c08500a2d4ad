"""Scaling laws, one per file, and the solver that fits them."""

from forecast.laws.law import Constraints, Input, Law, Parameter, PublishedFit, Role, SoftValue, Space
from forecast.laws.losses import BetaBinomial, Binomial, Huber, LeastSquares, Loss, SoftL1
from forecast.laws.registry import get_law, list_laws
from forecast.laws.result import FitResult, FitStatus
from forecast.laws.solver import fit

__all__ = [
    "BetaBinomial",
    "Binomial",
    "Constraints",
    "FitResult",
    "FitStatus",
    "Huber",
    "Input",
    "Law",
    "LeastSquares",
    "Loss",
    "Parameter",
    "PublishedFit",
    "Role",
    "SoftL1",
    "SoftValue",
    "Space",
    "fit",
    "get_law",
    "list_laws",
]
