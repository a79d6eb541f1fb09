"""The published contract suites: laws that every metric, task, format, adapter, source, engine and store keeps."""
