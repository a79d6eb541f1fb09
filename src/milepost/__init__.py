"""Milepost evaluates the checkpoints that training leaves behind."""
