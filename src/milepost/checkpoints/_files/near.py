"""What lies near a path at which nothing is, for the error that says so."""

import difflib
import os
from contextlib import suppress
from itertools import islice

from milepost._internal.text import natural
from milepost.checkpoints.names import INDEX, is_candidate, is_hidden

_SHOWN = 3
_MOST = 1000
"""Names of a folder that are looked at; a larger folder is not searched."""


def absent(path: str) -> str:
    """Return the words that nothing is at a path, and at most three checkpoints or folders of names like it beside it.

    A TensorFlow checkpoint is named by its prefix.  None are named where the folder holds more than 1,000 entries.

    >>> absent("/nowhere/model.ckpt")
    'no such file or folder'
    """
    return f"no such file or folder{near(path)}"


def near(path: str) -> str:
    """Return words that name at most three checkpoints or folders of names like a path's; "" where there are none."""
    names = ", ".join(_near(path))
    return f"; near it: {names}" if names else ""


def _near(path: str) -> list[str]:
    name = os.path.basename(path.rstrip("/"))
    names: list[str] = []
    with suppress(OSError), os.scandir(os.path.dirname(os.path.abspath(path))) as listing:
        entries = list(islice(listing, _MOST + 1))
        if len(entries) <= _MOST:
            names = [entry.name.removesuffix(INDEX) for entry in entries if _is_named(entry)]
    longer = sorted((one for one in names if name and one.startswith(name)), key=natural)[-_SHOWN:]
    close = difflib.get_close_matches(name, sorted(set(names)), n=_SHOWN)
    return list(dict.fromkeys([*longer, *close]))[:_SHOWN]


def _is_named(entry: os.DirEntry[str]) -> bool:
    return not is_hidden(entry.name) and (is_candidate(entry.name) or entry.is_dir())
