"""Evaluating the checkpoints of a training that goes on."""
