"""Layout, links, shards, checks and roles of what checkpoints hold."""
