"""Checkpoint formats, one a file; finding checkpoints, and reading their tables as data."""
