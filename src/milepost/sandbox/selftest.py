"""Whether the sandbox holds: a process locks itself in and tries what it should not be able to do."""

import errno
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from milepost.sandbox import confine

_PATIENCE = 60.0
_EXECUTED = 77
_REFUSALS = {errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOENT}
_RUN = "-m", "milepost.sandbox.selftest"


def try_out() -> dict[str, Any]:
    """Start a process that locks itself in, and return its `measures` and `tried`: what was `"refused"`, what `"done"`.

    Raises `OSError` where no process can be started, and `ValueError` where it did not answer.
    """
    with tempfile.TemporaryDirectory(prefix="milepost-trial-") as folder:
        for name in ("inside", "spool"):
            Path(folder, name).mkdir()
        for name in ("inside/file", "outside", "spool/room"):
            Path(folder, name).write_text("x", encoding="ascii")
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), root]))
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", *_RUN, folder],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(f"it ended with {done.returncode}: {lines[-1] if lines else 'without a message'}") from None
    report["tried"]["start a program"] = "done" if done.returncode == _EXECUTED else "refused"
    return report


def main() -> None:
    """Be the process: lock in, try, print, and at last try to become another program."""
    folder = sys.argv[1]
    inside, spool = os.path.join(folder, "inside"), os.path.join(folder, "spool")
    measures = confine.confine([inside], [spool])
    tried = {
        "read a checkpoint": _attempt(lambda: Path(inside, "file").read_bytes()),
        "write into the spool": _attempt(lambda: _written(os.path.join(spool, "room"))),
        "read a foreign file": _attempt(lambda: Path(folder, "outside").read_bytes()),
        "ask for a foreign file's size": _attempt(Path(folder, "outside").stat),
        "write into the checkpoints' folder": _attempt(lambda: Path(inside, "new").write_bytes(b"")),
        "open a network connection": _attempt(_connect),
    }
    sys.stdout.write(json.dumps({"measures": [asdict(measure) for measure in measures], "tried": tried}))
    sys.stdout.flush()
    _attempt(lambda: os.execv(sys.executable, [sys.executable, "-c", f"raise SystemExit({_EXECUTED})"]))  # noqa: S606


def _attempt(work: Callable[[], object]) -> str:
    try:
        work()
    except OSError as error:
        # What it cannot see is refused as well; else it came as far as to fail for another reason.
        return "refused" if error.errno in _REFUSALS else "done"
    return "done"


def _written(path: str) -> None:
    with open(path, "r+b") as file:
        file.write(b"x")


def _connect() -> None:
    with socket.socket() as tried:
        tried.settimeout(1.0)
        tried.connect(("127.0.0.1", 9))


if __name__ == "__main__":
    main()
