"""The scoring engine: log-likelihoods of every choice of every item, each distinct prefix computed once."""
