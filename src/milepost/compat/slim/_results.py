"""What an evaluation of a checkpoint came to: returned, and appended to a file of JSON lines beside the events.

These are no records of Milepost's: the values are whatever the user's `final_op` gave, of data and code that nobody
described.  So they go into no store, and a loop that is started again evaluates again.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from milepost.core.types import Failure, Json

FILE = "milepost-results.jsonl"
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Result:
    """One checkpoint: `value` is what `final_op` gave, or `failure` says why there is none.

    `evals` counts the runs of `eval_op`; `digest` is that of the weights; `notes` say what was restored, and how.
    """

    checkpoint: str
    step: int | None
    value: Any = None
    failure: Failure | None = None
    evals: int = 0
    seconds: float = 0.0
    digest: str | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


def record(folder: str | None, result: Result) -> None:
    """Append a result as one line, in one write that is forced to disk; a line that a crash cut off stays alone."""
    if not folder:
        return
    os.makedirs(folder, exist_ok=True)
    line = json.dumps(described(result), sort_keys=True, allow_nan=False).encode() + b"\n"
    handle = os.open(os.path.join(folder, FILE), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)


def described(result: Result) -> dict[str, Json]:
    """Return a result as plain data; what is undefined (NaN) is null."""
    failure = None if result.failure is None else {"kind": result.failure.kind, "message": result.failure.message}
    return {
        "checkpoint": result.checkpoint,
        "step": result.step,
        "value": plain(result.value),
        "failure": failure,
        "evals": result.evals,
        "seconds": round(result.seconds, 3),
        "weights": result.digest,
        "notes": plain(dict(result.notes)),
    }


def plain(value: Any) -> Json:
    """Return any value that a session gives as plain data; large arrays as their dtype and shape.

    >>> plain({"a": np.float32(0.5), "b": [np.int64(2), float("nan")], "c": np.zeros((200, 200))})
    {'a': 0.5, 'b': [2, None], 'c': {'dtype': 'float64', 'shape': [200, 200]}}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray) and value.size > _MOST:
        return {"dtype": str(value.dtype), "shape": list(value.shape)}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace") if len(value) <= _MOST else {"bytes": len(value)}
    return value if value is None or isinstance(value, bool | int | str) else repr(value)
