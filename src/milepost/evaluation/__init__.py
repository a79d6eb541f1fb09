"""The user's `Evaluation`: what it is made of, how it is checked, and how it is loaded."""
