"""Scaling laws, one per file, and the solver that fits them."""
