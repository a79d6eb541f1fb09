"""The process that reads mutants: warm, under limits of memory and processor time; another fork follows one that ends.

It answers one JSON object a line: {"folder", "spool"} asks for a reading, with a "fault" for one at which a file fails
or changes, and gets what `reading` returns, or how the fork ended without an answer, with its processor seconds and the
memory (KiB) by which it grew.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

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
_WALL_SECONDS = 900
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


@dataclass(slots=True)
class _Worker:
    """A fork that reads one mutant after the other, until one of them ends it."""

    pid: int
    requests: BinaryIO
    answers: BinaryIO


def _forked() -> _Worker:
    theirs, requests = os.pipe()
    answers, ours = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(requests)
        os.close(answers)
        _limit()
        with os.fdopen(theirs, "rb") as asked, os.fdopen(ours, "wb") as given:
            for line in asked:
                given.write(json.dumps(_answer(json.loads(line))).encode() + b"\n")
                given.flush()
        os._exit(0)
    os.close(theirs)
    os.close(ours)
    return _Worker(pid, os.fdopen(requests, "wb"), os.fdopen(answers, "rb"))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    begun, held = time.process_time(), _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is counted from here
    signal.alarm(_WALL_SECONDS)
    _allow_seconds()
    asked = request.get("fault")
    fault = Fault(**asked, folder=request["folder"]) if asked else None
    made = reading(request["folder"], request["spool"], fault)
    return {**made, "ended": "", "cpu": time.process_time() - begun, "peak": _memory("VmHWM") - held}


def _asked(worker: _Worker, line: str) -> tuple[dict[str, Any], _Worker]:
    """Return the answer of a worker, or how it ended; and the worker that reads the next one."""
    worker.requests.write(line.encode())
    worker.requests.flush()
    text = worker.answers.readline()
    if text:
        return json.loads(text), worker
    worker.requests.close()
    worker.answers.close()
    _, status, used = os.wait4(worker.pid, 0)
    ended = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status >> 8}"
    seconds = used.ru_utime + used.ru_stime
    return {"rows": [], "faults": [], "ended": ended, "cpu": seconds, "peak": 0}, _forked()


def _memory(name: str) -> int:
    """Return a line of this process's status in KiB."""
    with Path("/proc/self/status").open(encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _limit() -> None:
    begun = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (begun + _ADDRESSES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


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
    worker = _forked()
    for line in sys.stdin:
        made, worker = _asked(worker, line)
        sys.stdout.write(json.dumps(made) + "\n")
        sys.stdout.flush()
    worker.requests.close()
    os.waitpid(worker.pid, 0)


if __name__ == "__main__":
    main()
