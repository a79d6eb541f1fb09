"""What the PyTorch formats share."""
