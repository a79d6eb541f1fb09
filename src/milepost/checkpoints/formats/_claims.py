"""How formats claim what they recognise: a file by a check of its layout, a zip archive by the names of its entries."""

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Literal

from milepost._internal import zip as zip_codec
from milepost._internal.bounded import OpenFile, opened
from milepost._internal.budget import glancing
from milepost._internal.fileid import identity_of
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles
from milepost.errors import CheckpointError, Torn, Vanished


def claim(form: str, path: str, check: Callable[[OpenFile], object]) -> CheckpointFiles:
    """Return a checkpoint of one file; "writing" where the check raises `Torn`."""
    now = identity_of(path)
    return CheckpointFiles(path, form, (path,), now, "complete" if is_whole(path, check) else "writing")


def is_whole(path: str, check: Callable[[OpenFile], object]) -> bool:
    """Return whether a file is there and its check does not raise `Torn`; `read` raises any other error again."""
    try:
        with opened(path) as file, glancing(path, file.size):
            check(file)
    except CheckpointError as error:
        return not isinstance(error, Torn | Vanished)
    return True


def claim_zips(
    form: str, entries: Sequence[Entry], is_ours: Callable[[Sequence[str]], bool], firsts: Container[str] = ()
) -> Iterator[CheckpointFiles]:
    """Claim zip archives by the names of their entries.

    Where the directory cannot be read, the first entry alone decides: `is_ours` knows it, or it is one of `firsts`.
    """
    for entry in entries:
        first = zip_codec.first_name(entry.head)
        if first is None:
            continue
        now, listed, known = identity_of(entry.path), [first], first in firsts
        state: Literal["complete", "writing"] = "complete"
        try:
            with opened(entry.path) as file, glancing(entry.path, file.size):
                listed, known = zip_codec.names(file), False
        except Torn:
            state = "writing"
        except CheckpointError:
            pass  # `read` raises it again
        if known or is_ours(listed):
            yield CheckpointFiles(entry.path, form, (entry.path,), now, state)
