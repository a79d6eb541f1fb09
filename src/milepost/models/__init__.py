"""Framework adapters: one framework a file, imported by name and never together."""
