"""Forecasts of a ladder's larger members: methods, ensemble, intervals, back-tests, verdicts."""

from forecast.forecasting.engine import forecast_ladder

__all__ = ["forecast_ladder"]
