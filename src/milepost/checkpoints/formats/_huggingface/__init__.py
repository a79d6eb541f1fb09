"""What Hugging Face's formats share."""
