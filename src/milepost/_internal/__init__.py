"""What every room may use: whole files, processes, plain data, threads, text."""
