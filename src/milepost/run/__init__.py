"""The driver: what is missing, and how it is evaluated and recorded."""
