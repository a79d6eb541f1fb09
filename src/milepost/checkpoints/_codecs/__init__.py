"""Encodings that files are made of: they know nothing of checkpoints."""
