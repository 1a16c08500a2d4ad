"""Other people's results: observation tables and evaluation files, read into the project's own records."""

from forecast.importers.observations import read_observations, to_ladders

__all__ = ["read_observations", "to_ladders"]
