"""What a process that reads checkpoints may not do."""
