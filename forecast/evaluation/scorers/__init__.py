"""One file per way to score a request."""
