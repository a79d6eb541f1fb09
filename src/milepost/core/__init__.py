"""The nouns of Milepost and the seams between its rooms."""
