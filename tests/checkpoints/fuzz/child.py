"""The process that reads mutants: warm, and forked for each of them, under limits of memory and processor time.

It answers one JSON object a line: {"folder", "spool"} asks for a reading, with a "fault" for one at which a file fails
or changes, and gets what `reading` returns, or how the fork ended without an answer, with its processor seconds and the
memory it took beside a fork that reads nothing.
"""

import gc
import hashlib
import io
import json
import math
import os
import resource
import signal
import sys
import time
import traceback
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from tests.checkpoints.fuzz.faults import Fault

from milepost._internal.bounded import expecting
from milepost._internal.fileid import is_changed
from milepost._internal.serialization import from_plain, to_plain
from milepost.checkpoints._files.shards import identities
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import Reader
from milepost.cli._output import answer
from milepost.cli.inspect import plain
from milepost.core.types import CheckpointFiles, Inspection, Table, Tensor
from milepost.errors import CheckpointError, Unsafe, Unsupported, UsageError
from milepost.evaluator import _check_files
from milepost.registry import classes
from milepost.report.inspection import described

CPU_SECONDS = 10
"""Seconds of the processor for each of the steps of reading: finding, the table with its tensors, showing."""
_WALL_SECONDS = 120
"""Seconds after which what waits for ever is ended; the processor may be busy with other work."""
_ADDRESSES = 3 << 30
_LINES = 12
_HASHED = 64 << 20
"""Bytes of a tensor that are read; a view that repeats one item may be larger than memory."""


def reading(folder: str, spool: str, fault: Fault | None = None) -> dict[str, Any]:
    """Find, read and map whatever lies in a folder, and show it as `milepost inspect` does.

    "rows" has for each checkpoint its path and what it "holds", or why it was "refused" (kind and message); "faults"
    are tracebacks and broken promises.
    """
    rows: list[dict[str, Any]] = []
    faults: list[str] = []
    try:
        with fault.at_work() if fault else nullcontext():
            _steps(folder, spool, rows, faults)
    except UsageError as error:
        rows.append({"path": folder, "refused": ["usage", str(error)]})
    except Exception:  # noqa: BLE001 - what is looked for
        faults.append(_trace())
    return {"rows": rows, "faults": faults, "operations": fault.count if fault else 0}


def _steps(folder: str, spool: str, rows: list[dict[str, Any]], faults: list[str]) -> None:
    for found in Reader().discover([folder]):
        _allow_seconds()
        rows.append({"path": found.path, **_read(found, folder, spool, faults)})
        _allow_seconds()
        _inspect(found.path, faults)


def _read(found: CheckpointFiles, folder: str, spool: str, faults: list[str]) -> dict[str, Any]:
    try:
        table = _crossed(Table, Reader().table(_crossed(CheckpointFiles, found), spool))
        with expecting(identities(found)):  # as an evaluator does, and checks before it believes what it mapped
            held = _held(table, (folder, spool), faults)
        _check_files(found, is_changed)
    except CheckpointError as error:
        if "could not make sense of it" in str(error):  # discovery goes on, whatever a format raises
            faults.append(str(error))
        if not str(error).startswith((folder, spool)):
            faults.append(f"the message does not name the file: {error}")
        return {"refused": [error.kind, str(error)]}
    except Exception:  # noqa: BLE001 - what is looked for
        faults.append(_trace())
        return {"refused": ["traceback", ""]}
    else:
        return {"holds": held, "checksum": table.checksum}


def _crossed(cls: Any, value: Any) -> Any:
    """Return a value as the driver gets it from the reader's process."""
    return from_plain(cls, json.loads(json.dumps(to_plain(value)).encode()))


def _held(table: Table, places: tuple[str, str], faults: list[str]) -> dict[str, Any]:
    """Return type, shape, digest and place of every tensor that a model may need, by name."""
    held: dict[str, Any] = {}
    if table.adapter is not None:
        held["(adapter)"] = to_plain(table.adapter)
    for tensor in table.tensors:
        name = "/".join(filter(None, (tensor.group, tensor.name)))
        if not tensor.where.file.startswith(places):
            faults.append(f"tensor {name!r} lies in {tensor.where.file}")
        elif tensor.role != "optimizer":
            held[name] = [tensor.dtype, list(tensor.shape), _digest(tensor), _place(tensor)]
    return held


def _digest(tensor: Tensor) -> str:
    try:
        mapped = map_tensor(tensor)
    except (Unsupported, Unsafe) as error:  # a row only if a model needs it
        return error.kind
    if mapped.nbytes > _HASHED:
        return f"{mapped.nbytes:,} bytes"
    return hashlib.blake2b(mapped.tobytes(), digest_size=16).hexdigest()


def _place(tensor: Tensor) -> list[Any]:
    where = tensor.where
    return [where.file, where.offset, where.nbytes] if where.encoding == "raw" else []


def _inspect(path: str, faults: list[str]) -> None:
    try:
        held = plain(_crossed(Inspection, Reader().inspect(path)))
        with redirect_stdout(io.StringIO()) as shown:
            answer([held], described(held), as_json=False)
            answer([held], described(held, 80), as_json=True)
        shown.getvalue().encode()
    except (CheckpointError, UsageError):
        pass
    except Exception:  # noqa: BLE001 - what is looked for
        faults.append(f"inspect: {_trace()}")


def _trace() -> str:
    """Return the beginning and the end of a traceback: one of endless recursion has its cause in both."""
    lines = traceback.format_exc().splitlines()
    return "\n".join(lines if len(lines) <= 2 * _LINES else [*lines[:_LINES], "...", *lines[-_LINES:]])


def _forked(request: dict[str, Any]) -> dict[str, Any]:
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(ours)
        try:
            _limit()
            asked = request.get("fault")
            fault = Fault(**asked, folder=request["folder"]) if asked else None
            made = reading(request["folder"], request["spool"], fault)
        except BaseException:  # noqa: BLE001 - the parent reports it
            made = {"rows": [], "faults": [_trace()]}
        with os.fdopen(theirs, "wb") as stream:
            stream.write(json.dumps(made).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as stream:
        answered = stream.read()
    _, status, used = os.wait4(pid, 0)
    made = json.loads(answered) if answered and not status else {"rows": [], "faults": []}
    ended = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else ""
    return {**made, "ended": ended, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss}


def _limit() -> None:
    begun = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (begun + _ADDRESSES,) * 2)
    _allow_seconds()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(_WALL_SECONDS)


def _allow_seconds() -> None:
    """Allow the next step, which is finding, reading or showing, its seconds of the processor."""
    used = math.ceil(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used + CPU_SECONDS, resource.RLIM_INFINITY))


def main() -> None:
    """Read each folder that is named on the command line, to be warm, and then serve."""
    spool, *warm = sys.argv[1:]
    for kind in classes("checkpoints.formats").values():
        kind()
    for folder in warm:
        reading(folder, spool)
    gc.collect()
    gc.freeze()
    base = min(_forked({"folder": os.devnull, "spool": spool})["peak"] for _ in range(3))
    for line in sys.stdin:
        made = _forked(json.loads(line))
        sys.stdout.write(json.dumps({**made, "peak": made["peak"] - base}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
