"""A reader that needs no checkpoint files: paths tell what to do.  Also a process, as the real one is."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from milepost.checkpoints import reader
from milepost.core.types import CheckpointFiles, Extent, Identity, Inspection, Table, Tensor
from milepost.errors import checkpoint_error


class Reader(reader.Reader):
    """Answers for any path; "torn" in it raises, "die" in it kills the process, "garbage" garbles its answer, ..."""

    def discover(self, paths: Sequence[str], match: str | None = None) -> list[CheckpointFiles]:
        return [_files(path) for path in paths if match is None or match in path]

    def table(self, files: CheckpointFiles, spool: str) -> Table:
        path = files.path
        _misbehave(path)
        if os.path.isabs(path):
            file, size = path, os.path.getsize(path)
        else:
            file, size = str(Path(spool, "w.bin")) if os.path.isdir(spool) else spool, 4
            with open(file, "wb" if os.path.isdir(spool) else "r+b") as unpacked:
                unpacked.write(b"1234")
        return Table("fake", (Tensor("w", "float32", (1,), Extent(file, 0, size)),), step=7, step_source="x")

    def inspect(self, path: str) -> Inspection:
        """Return a table whose step is the number of this process."""
        return Inspection(_files(path), Table("fake", (), step=os.getpid()))


def _misbehave(path: str) -> None:
    if "die" in path:
        print("about to die", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if "drowsy" in path:
        threading.Event().wait(600)
    _answer_oddly(path)


def _answer_oddly(path: str) -> None:
    if "spin" in path:
        while True:
            pass
    if "endless" in path:
        os.write(1, b'{"id": 1, "result": "')
        while True:
            os.write(1, b"x" * 65536)
    if "crowd" in path:
        os.write(1, b'{"id": 1, "result": [' + b"[]," * 200_000 + b"[]]}\n")
    if "garbage" in path:
        os.write(1, b"no JSON\n")
    if "odd" in path:
        os.write(1, b'{"id": 1, "result": {"format": 3}}\n')
    if "bug" in path and "-" in path:
        raise KeyError(path)
    if "torn" in path:
        raise checkpoint_error("torn", f"{path}: 12 bytes are missing")


def _files(path: str) -> CheckpointFiles:
    return CheckpointFiles(path, "fake", (path,), Identity(1, 2, 3, 4, 5))


if __name__ == "__main__":
    reader.serve(sys.stdin.buffer, sys.stdout.buffer, Reader())
