"""Engines: where evaluators run.  One file an engine; each opens a job and returns a session."""
