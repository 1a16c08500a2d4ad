"""Capability forecasting for language-model families."""
