"""Weights that others publish: which there are, how they are fetched, opened, converted and kept."""
