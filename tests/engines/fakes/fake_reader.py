"""A reader that needs no checkpoint files: paths tell what to do.  Also a process, as the real one is."""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from milepost.errors import CheckpointError, checkpoint_error


class Reader:
    """Answers for any path; "torn" in it raises, "die" in it kills the process, "garbage" spoils its answer."""

    def discover(self, paths: list[str], match: str | None) -> list[dict[str, Any]]:
        return [_found(path) for path in paths if match is None or match in path]

    def table(self, found: dict[str, Any], spool: str) -> dict[str, Any]:
        path = found["path"]
        if "die" in path:
            print("about to die", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if "drowsy" in path:
            threading.Event().wait(600)
        if "garbage" in path:
            sys.stdout.write("no JSON\n")
        if "bug" in path and "-" in path:
            raise KeyError(path)
        if "torn" in path:
            raise checkpoint_error("torn", f"{path}: 12 bytes are missing")
        if os.path.isabs(path):
            file, size = path, os.path.getsize(path)
        else:
            file, size = str(Path(spool, "w.bin")), 4
            Path(file).write_bytes(b"1234")
        where = {"file": file, "offset": 0, "nbytes": size, "encoding": "raw", "strides": None}
        tensor = {"name": "w", "dtype": "float32", "shape": [1], "where": where, "role": "weights", "group": ""}
        return {"format": "fake", "tensors": [tensor], "step": 7, "step_source": "x", "foreign": [], "notes": []}

    def inspect(self, path: str) -> dict[str, Any]:
        return {"path": path, "pid": os.getpid()}


def _found(path: str) -> dict[str, Any]:
    identity = {"device": 1, "inode": 2, "size": 3, "mtime_ns": 4, "ctime_ns": 5}
    return {
        "path": path,
        "format": "fake",
        "paths": [path],
        "identity": identity,
        "state": "complete",
        "failure": None,
        "others": [],
    }


def main() -> None:
    reader = Reader()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": getattr(reader, request["method"])(**request["arguments"])}
        except CheckpointError as error:
            answer = {"error": {"kind": error.kind, "type": type(error).__name__, "message": str(error)}}
        except KeyError as error:
            answer = {"error": {"kind": None, "type": "KeyError", "message": str(error)}}
        print(json.dumps({"id": request["id"], **answer}), flush=True)


if __name__ == "__main__":
    main()
