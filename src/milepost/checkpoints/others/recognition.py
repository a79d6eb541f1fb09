"""Which other kind a file is, whether it is whole, and what its user can do."""

import os
from collections.abc import Iterator

from milepost._internal.bounded import AGAIN, CUT, opened
from milepost._internal.budget import glancing
from milepost.checkpoints._files.links import leads_out, roots_of
from milepost.checkpoints.others import arrays, described, learners, packed, programs
from milepost.checkpoints.others._kind import Cursor, OtherKind, Short, Start, Wrong
from milepost.errors import CheckpointError

KINDS: tuple[OtherKind, ...] = (*arrays.KINDS, *programs.KINDS, *learners.KINDS, *described.KINDS, *packed.KINDS)
_HEAD, _TAIL = 4096, 8
_MOST = 10_000

Diagnosis = tuple[str, str]
"""A failure: its kind and its message."""


def recognise(start: Start) -> Diagnosis | None:
    """Return what a file of another kind is: "unsupported" with advice, "torn" or "corrupt" where it is not whole."""
    kind = next((kind for kind in KINDS if kind.begins(start)), None)
    if kind is None:
        return None
    try:
        if kind.walk is not None:
            with opened(start.path) as file, glancing(start.path, file.size):
                kind.walk(Cursor(file))
    except Short as error:
        return "torn", f"{start.path}: {CUT}: {kind.what}: {error}{AGAIN}"
    except Wrong as error:
        return "corrupt", f"{start.path}: damaged: it begins as {kind.what}, but {error}; copy it again"
    except CheckpointError as error:
        return error.kind, str(error)
    return "unsupported", f"{start.path}: {kind.what}, which Milepost does not read: {kind.advice}"


def start_of(path: str) -> Start:
    """Return what recognition looks at first; raises the error of the tree for a file that cannot be read."""
    with opened(path) as file:
        tail = min(_TAIL, file.size)
        head = file.at(0, min(_HEAD, file.size), "its beginning")
        return Start(path, head, file.at(file.size - tail, tail, "its end"), file.size)


def search(folder: str) -> Iterator[tuple[str, Diagnosis]]:
    """Yield the files of other kinds below a folder, whatever they are called, but for hidden ones, in order."""
    roots, count = roots_of([folder]), 0
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            count += 1
            path = os.path.join(base, name)
            if count > _MOST or name.startswith(".") or leads_out(path, roots):
                continue
            try:
                found = recognise(start_of(path))
            except (CheckpointError, OSError):
                continue
            if found is not None:
                yield path, found
