"""Figures: what each shows, read from a store as plain data, and the chart of it.  One figure a file.

A figure is a class with a `name`, a class method `of(store, asked)` that reads its data, and `chart()`; the command
`milepost plot NAME` finds it by its file.
"""
