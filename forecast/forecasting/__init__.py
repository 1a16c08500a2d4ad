"""Forecast methods, intervals, back-tests and verdicts."""
