"""Tables of checkpoints, read once while they are in use."""

import shutil
from collections.abc import Collection
from pathlib import Path

from milepost._internal.serialization import from_plain, to_plain
from milepost.core.types import CheckpointFiles, Table
from milepost.engines._errors import as_unreadable
from milepost.engines._roles import Reader
from milepost.engines._spool import Spool

_LOADED = 4
"""Tables that are kept for the next unit, with what they put into the spool."""


class Tables:
    """Asks the reader for tables and keeps the latest few; what a forgotten one put into the spool is removed."""

    def __init__(self, reader: Reader, spool: Spool) -> None:
        """Keep nothing yet."""
        self._reader = reader
        self._spool = spool
        self._kept: dict[CheckpointFiles, tuple[Table, Path]] = {}

    def get(self, found: CheckpointFiles, needed: Collection[CheckpointFiles] = ()) -> Table:
        """Return the table of a checkpoint; raise the `CheckpointError` that the reader met.  `needed` ones stay."""
        kept = self._kept.pop(found, None) or self._read(found)
        self._kept[found] = kept
        for other in list(self._kept)[: max(0, len(self._kept) - _LOADED)]:
            if other not in needed:
                # A mapping that the evaluator still has outlives the file's name.
                shutil.rmtree(self._kept.pop(other)[1], ignore_errors=True)
        return kept[0]

    def known(self, found: CheckpointFiles) -> Table | None:
        """Return the table of a checkpoint if it is kept."""
        kept = self._kept.get(found)
        return None if kept is None else kept[0]

    def _read(self, found: CheckpointFiles) -> tuple[Table, Path]:
        folder = self._spool.folder()
        try:
            with as_unreadable(found.path):
                return from_plain(Table, self._reader.table(to_plain(found), str(folder))), folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
