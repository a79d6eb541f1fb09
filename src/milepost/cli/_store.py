"""What the verbs ask of a store: that it is there, and its failures."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from milepost._internal.atomic import readable
from milepost.cli._damage import report
from milepost.errors import UsageError
from milepost.report.table import Plain, failure_of
from milepost.store.store import Store


def open_store(path: str) -> Store:
    """Open a store that exists, to read it: what cannot be read of it is reported and left out."""
    store = open_whole_store(path)
    store.on_damage = report
    return store


def open_whole_store(path: str) -> Store:
    """Open a store that exists; reading never makes one.  What cannot be read of it is an error."""
    with readable(path), suppress(FileNotFoundError, NotADirectoryError):
        if stat.S_ISREG(os.stat(os.path.join(path, "store.json")).st_mode):
            return Store.open(path)
    raise UsageError(
        f"{path}: expected a store, found {'no store.json in it' if os.path.exists(path) else 'no such folder'}; "
        "name one with --store DIR, or make one with: milepost run EVAL.py CKPTS"
    )


def failures(checkpoints: Iterable[Plain]) -> Iterator[dict[str, Any]]:
    """Yield a `failure` line for every checkpoint that failed, so that no listing has a silent hole."""
    for row in checkpoints:
        if failed := failure_of(row):
            shown = {key: row.get(key) for key in ("run", "path", "step", "variant", "digest")}
            yield {"event": "failure", **shown, "class": failed[0], "message": failed[1], "attempts": row["attempts"]}
