"""What an evaluation is asked for, by itself: wrong names are refused before what scores is imported."""

from forecast.evaluation.request import EvaluationRequest

__all__ = ["EvaluationRequest"]
