"""What the Keras formats share."""
