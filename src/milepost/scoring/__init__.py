"""From kept columns to records."""
