"""Families of our own: data, training, and the demo's world."""
