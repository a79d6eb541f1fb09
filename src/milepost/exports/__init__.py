"""Exports: the records of a store for other tools, one target a file.

An export is a class with a `name` and `write(records, target)`; see `milepost.core.protocols.Export`.  The command
`milepost export NAME [TARGET]` finds it by its file; `milepost.testing.exports` holds its laws.
"""
