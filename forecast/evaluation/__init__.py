"""Which checkpoint answers what: the sweep over checkpoints, resume, and the scorers."""
