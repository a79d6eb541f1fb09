"""What is new in a folder of checkpoints each time that it is looked at."""

import os
from collections.abc import Callable

from milepost.core.types import CheckpointFiles
from milepost.watch.snapshot import Snapshot


class Arrivals:
    """Hands out each checkpoint once; a file that is rewritten is new again, and what is being written waits.

    `listed` returns the checkpoints in a folder, in order.
    """

    def __init__(self, folder: str, listed: Callable[[str], list[CheckpointFiles]]) -> None:
        self._folder = os.path.abspath(folder)
        self._listed = listed
        self._snapshot = Snapshot([self._folder])
        self._handed: set[tuple[str, object]] = set()
        self._again: set[tuple[str, object]] = set()
        self._present: list[CheckpointFiles] = []

    def fresh(self) -> list[CheckpointFiles]:
        """Return what was not handed out before and is whole or damaged."""
        self._look()
        found = [one for one in self._present if one.state != "writing" and key_of(one) not in self._handed]
        self._handed.update(map(key_of, found))
        return found

    def pass_over(self, keep: int) -> None:
        """Look, and hand out no more than the last `keep` (one at the least) of what is there now."""
        self._look()
        whole = [one for one in self._present if one.state != "writing"]
        self._handed.update(map(key_of, whole[: -max(1, keep)]))

    def _look(self) -> None:
        waiting = [file for one in self._present if one.state == "writing" for file in (one.path, *one.paths)]
        changes = self._snapshot.scan(waiting)
        if changes.new or changes.gone or waiting:
            self._present = self._listed(self._folder) if os.path.isdir(self._folder) else []

    def later(self, found: CheckpointFiles) -> None:
        """Have a checkpoint handed out again at the next look: it turned out to be unfinished."""
        self._handed.discard(key_of(found))
        self._again.add(key_of(found))

    def is_new(self, found: CheckpointFiles) -> bool:
        """Return whether it was never announced to come later."""
        return key_of(found) not in self._again

    def newest(self) -> list[CheckpointFiles]:
        """Return only the last one in order, if it is new; all before it are passed over."""
        fresh = self.fresh()
        whole = [one for one in self._present if one.state != "writing"]
        return fresh[-1:] if fresh and whole and fresh[-1] == whole[-1] else []

    def unfinished(self) -> list[CheckpointFiles]:
        """Return what is still being written."""
        return [one for one in self._present if one.state == "writing" and key_of(one) not in self._handed]


def key_of(found: CheckpointFiles) -> tuple[str, object]:
    """Return what tells a checkpoint from any other, and from what its path held before."""
    return found.path, found.identity.content
