"""Checkpoint formats: one format a file."""
