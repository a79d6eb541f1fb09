"""Checkpoint formats: one format a file; a file is found by being here, and no list is edited.

A format is a class with `name`, `find`, `read` and `fetch` (`milepost.core.protocols.Format`).  It parses, and no more:

- `find` claims files by their first bytes; `_claims.claim` does so for one file, `_claims.claim_zips` for zips.
- `read` opens files by `opened` (`_internal/bounded.py`) and gives each tensor's name, type, shape and place.  Then the
  reader checks names, shapes, strides, offsets, sizes and bombs (`_files/checks.py`), finds a step that a tensor
  holds, and notes what cannot be read.  Left to the format: what only its layout can show, checksums, gaps, overlaps;
  its table says by `checksum` whether every weight has one that is compared.
- `fetch` unpacks what is not "raw"; where all is raw, it raises `_files.layout.refused(tensor)`.
- `main_name` (`ShardedFormat`) comes only with a format whose checkpoints are several files.
- `facts` (`HoldsFacts`) comes only with a format whose files hold numbers and settings beside tensors, for `inspect`.

Its test is a `FormatCase` for `milepost.testing.formats.check_format`: how to write a small checkpoint, and hostile
files.
"""
