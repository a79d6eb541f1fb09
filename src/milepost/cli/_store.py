"""What the verbs ask of a store: its index, and its failures."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from milepost.errors import UsageError
from milepost.registry import resolve
from milepost.report.table import Plain, failure_of


def open_store(path: str) -> Any:
    """Open a store that exists; reading never makes one."""
    if not Path(path, "store.json").is_file():
        raise UsageError(
            f"{path}: expected a store, found {'no store.json in it' if Path(path).exists() else 'no such folder'}; "
            "name one with --store DIR, or make one with: milepost run EVAL.py CKPTS"
        )
    return resolve("milepost.store.store:Store").open(path)


def open_index(path: str) -> Any:
    """Open the index of a store that exists."""
    return open_store(path).index()


def failures(checkpoints: Iterable[Plain]) -> Iterator[dict[str, Any]]:
    """Yield a `failure` line for every checkpoint that failed, so that no listing has a silent hole."""
    for row in checkpoints:
        failed = failure_of(row)
        if failed:
            shown = {key: row.get(key) for key in ("run", "path", "step", "variant", "digest")}
            yield {"event": "failure", **shown, "class": failed[0], "message": failed[1], "attempts": row["attempts"]}
