"""The store: immutable files of results, leases, and one reader of them all."""
