"""The store: immutable files, records, leases, and an index that can be thrown away."""
