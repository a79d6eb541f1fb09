"""Exports of records to other tools, one target a file."""
