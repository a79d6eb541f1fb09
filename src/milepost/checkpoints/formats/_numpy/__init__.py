"""What NumPy writes into others' containers."""
