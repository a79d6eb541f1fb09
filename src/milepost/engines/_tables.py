"""Tables of checkpoints, read once while they are in use."""

import shutil
from collections.abc import Collection
from pathlib import Path

from milepost.core.types import CheckpointFiles, Table
from milepost.engines._roles import ReaderRole
from milepost.engines._spool import Spool, is_empty
from milepost.errors import CheckpointError, Corrupt, MilepostError, UsageError

_CACHED = 4
"""Tables that are kept for the next unit, with what they put into the spool."""


class Tables:
    """Asks the reader for tables and keeps the latest few; what a forgotten one put into the spool is removed.

    Most put nothing there, and share one empty folder.
    """

    def __init__(self, reader: ReaderRole, spool: Spool) -> None:
        self._reader = reader
        self._spool = spool
        self._kept: dict[CheckpointFiles, tuple[Table, Path | None]] = {}

    def get(self, files: CheckpointFiles, needed: Collection[CheckpointFiles] = ()) -> Table:
        """Return the table of a checkpoint; raise the `CheckpointError` that the reader met.  `needed` ones stay."""
        kept = self._kept.pop(files, None) or self._read(files)
        self._kept[files] = kept
        for other in list(self._kept)[: max(0, len(self._kept) - _CACHED)]:
            if other not in needed and (folder := self._kept.pop(other)[1]) is not None:
                # A mapping that the evaluator still has outlives the file's name.
                shutil.rmtree(folder, ignore_errors=True)
        return kept[0]

    def _read(self, files: CheckpointFiles) -> tuple[Table, Path | None]:
        folder = self._spool.folder()
        try:
            table = self._reader.table(files, str(folder))
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, CheckpointError | UsageError) or not isinstance(error, Exception):
                raise
            # One strange file does not end a run.
            text = str(error) if isinstance(error, MilepostError) else f"{type(error).__name__}: {error}"
            raise Corrupt(f"{files.path}: the reader failed on it: {text}") from error
        return table, None if is_empty(folder) else folder
