"""The dashboard: pages of stores over HTTP, for one's own browser; it reads stores only, and fetches nothing."""
