"""Runs: a folder with its settings, log and finished stages."""
