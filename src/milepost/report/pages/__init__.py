"""Pages: what a report or the dashboard shows, first as plain blocks, then drawn as HTML or Markdown."""
