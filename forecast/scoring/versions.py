"""Names under which scores are kept: each changes whenever the same request could give another number."""

SCORING_VERSION = "1"
"""Scoring version of causal language models."""
GENERATION_VERSION = "1"
"""Version of how answers are written and judged; part of the runs that have answers."""
MASKED_BACKEND = "native:masked"
"""Masked language models are never mixed with causal ones."""
MASKED_SCORING_VERSION = "masked-1"
