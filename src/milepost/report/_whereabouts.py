"""Where weights lie now: the files that hold them, and what became of those that did."""

from collections.abc import Iterable
from dataclasses import dataclass

from milepost.checkpoints.reader import Reader
from milepost.errors import UsageError
from milepost.report.table import Plain
from milepost.store.listing import Listing

HERE = "holds these weights"
"""The state of a file that is as it was when its weights were read."""


@dataclass(frozen=True, slots=True)
class FileNow:
    """A path that held some weights, and its state now: HERE, "overwritten since", or "gone"."""

    path: str
    state: str

    @property
    def here(self) -> bool:
        return self.state == HERE


class Whereabouts:
    """Looks at the files of checkpoints as they are now."""

    def __init__(self, listing: Listing, runs: Iterable[str]) -> None:
        self._reader = Reader()
        self._seen: dict[tuple[str, str], list[Plain]] = {}
        for run in runs:
            for row in listing.checkpoint_files(run):
                self._seen.setdefault((str(row["digest"]), row["variant"]), []).append(row)

    def of(self, checkpoint: Plain) -> FileNow:
        """Return a file that holds a checkpoint's weights, the recorded one first; else what became of that one."""
        rows = self._seen.get((str(checkpoint["digest"]), checkpoint.get("variant") or "raw"), [])
        ordered = sorted(rows, key=lambda row: (row["path"] != checkpoint["path"], str(row["path"])))
        states = {row["path"]: "" for row in ordered}
        for row in ordered:
            state = self._state(row)
            if state == HERE:
                return FileNow(row["path"], state)
            states[row["path"]] = state
        path = next(iter(states), str(checkpoint.get("path") or ""))
        return FileNow(path, states.get(path, "gone"))

    def _state(self, row: Plain) -> str:
        try:
            found = self._reader.discover([row["path"]])
        except UsageError:
            return "gone"
        known = tuple(row["identity"][:4])
        same = any(one.path == row["path"] and one.identity.content == known for one in found)
        return HERE if same else "overwritten since"
