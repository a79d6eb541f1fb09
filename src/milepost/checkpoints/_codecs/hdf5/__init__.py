"""HDF5 as data: superblock, object headers, groups, heaps, types, layouts and chunks, read in bounds and in Python."""
