"""Where weights lie now: the files that hold them, and what became of those that did."""

from dataclasses import dataclass

from milepost._internal.fileid import stamp
from milepost.checkpoints.reader import Reader
from milepost.errors import UsageError
from milepost.report.table import Plain
from milepost.store.checkpoint_records import CheckpointRecords
from milepost.store.listing import Listing
from milepost.store.store import Store

HERE = "holds these weights"
"""The state of a file that is as it was when its weights were read."""

OVERWRITTEN, GONE = "overwritten since", "gone"
"""The states of a file that does not hold them any more."""
_TOUCHED = "touched since (a link, new rights, or new content): the next run looks"


@dataclass(frozen=True, slots=True)
class FileNow:
    """A path that held some weights, and its state now: HERE, "overwritten since", "touched since ...", or "gone"."""

    path: str
    state: str

    @property
    def here(self) -> bool:
        return self.state == HERE


class Whereabouts:
    """Looks at the files of checkpoints as they are now."""

    def __init__(self, store: Store, listing: Listing) -> None:
        self._store = store
        self._records = CheckpointRecords(store.storage)
        self._reader = Reader()
        self._seen: dict[tuple[str, str], list[Plain]] = {}
        for run in store.runs():
            for row in listing.checkpoint_files(run["id"]):
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
        return FileNow(path, states.get(path, GONE))

    def _state(self, row: Plain) -> str:
        try:
            found = self._reader.discover([row["path"]])
        except UsageError:
            return GONE
        content = tuple(row["identity"][:4])
        same = [one for one in found if one.path == row["path"] and one.identity.content == content]
        if not same:
            return OVERWRITTEN
        # Size and mtime can be restored: only a stamp at which the weights were read says what the file holds.
        held = self._store.checkpoint(row["run"], row["path"], same[0].identity, row["variant"], row["signature"])
        if held is not None and held.digest is not None:
            held = self._records.verified(held, stamp(same[0].paths))
        if held is None:
            return _TOUCHED
        return HERE if held.digest == row["digest"] else OVERWRITTEN
