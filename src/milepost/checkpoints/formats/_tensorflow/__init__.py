"""What the TensorFlow formats share."""
