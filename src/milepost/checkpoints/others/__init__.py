"""Files of kinds that Milepost does not read: recognised by what they hold, so that a whole one is not called damaged.

Each kind says how its files begin (`begins`) and, where its layout allows it, walks a file to its end (`walk`): nothing
is loaded, and no length is trusted before it is compared with the file's size.
"""
