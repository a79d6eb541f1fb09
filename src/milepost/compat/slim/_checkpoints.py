"""Which checkpoints lie in a folder, in order of step, and which of them have not been handed out yet.

The `checkpoint` state file is not read: it lists the latest only, often under another machine's paths.
"""

import os
import time
from collections.abc import Callable, Iterator

from milepost._internal.text import natural
from milepost.checkpoints._files.near import near
from milepost.checkpoints._files.shards import from_prefix, main_file
from milepost.checkpoints.discovery import find
from milepost.checkpoints.names import step_of_name
from milepost.compat._arrivals import Arrivals
from milepost.compat.slim._errors import AbsentCheckpoint, InvalidValue
from milepost.core.types import CheckpointFiles
from milepost.errors import Torn, checkpoint_error

_FORMATS = ("tf_bundle", "tf_v1")
_SUFFIX = ".index"
_LOOK_SECONDS = 1.0
_LAST = 1 << 62


def prefix_of(found: CheckpointFiles) -> str:
    """Return a checkpoint's address as TensorFlow has it: "runs/model.ckpt-40"."""
    return found.path.removesuffix(_SUFFIX)


def step_of(found: CheckpointFiles) -> int | None:
    """Return the step that the name tells; a bare number after the last hyphen counts, as TensorFlow writes it."""
    name = prefix_of(found)
    named = step_of_name(name)
    tail = os.path.basename(name).rpartition("-")[2]
    return named if named is not None or not tail.isdecimal() else int(tail)


def listed(folder: str) -> list[CheckpointFiles]:
    """Return TensorFlow's checkpoints right in a folder, whole or not, in order of step and time; [] without it."""
    path = os.path.abspath(folder)
    here = [one for one in find([path]) if os.path.dirname(one.path) == path] if os.path.isdir(path) else []
    ours = (one for one in here if one.format in _FORMATS or (one.format is None and one.path.endswith(_SUFFIX)))
    return sorted(ours, key=_order)


def _order(found: CheckpointFiles) -> tuple[int, int, object]:
    step = step_of(found)
    return (_LAST if step is None else step, found.identity.mtime_ns, natural(found.path))


def at(path: object) -> CheckpointFiles:
    """Return the checkpoint at an address, which may be a prefix or its index file.

    Raises `UsageError` for no address (TensorFlow would evaluate random weights) and for a folder, `Vanished` where
    nothing is there (all are a `ValueError` too, as TensorFlow's), and the checkpoint's own error where it is damaged
    or being written.
    """
    if path is None or path == "":
        raise InvalidValue(
            "no checkpoint was given (latest_checkpoint finds None where the state file is absent or wrong), and "
            "without one the weights would be random: give its address, such as runs/model.ckpt-40"
        )
    address = os.path.abspath(os.fspath(path))  # type: ignore[call-overload]  # the call raises for what is no path
    unnamed = os.path.join(address, _SUFFIX)  # saver.save(session, "runs/") returns "runs/"
    if os.path.isdir(address) and str(path).endswith(os.sep) and os.path.isfile(unnamed):
        address = unnamed
    if os.path.isdir(address):
        names = [os.path.basename(prefix_of(one)) for one in listed(address)]
        raise InvalidValue(f"{path}: a folder; give one checkpoint of it ({', '.join(names[-5:]) or 'it holds none'})")
    file = from_prefix(address)
    if not os.path.exists(file):
        raise AbsentCheckpoint(f"{path}: no checkpoint is there (no {os.path.basename(address)}.index){near(address)}")
    (found,) = find([file])
    if found.failure is not None:
        raise checkpoint_error(*found.failure)
    return found


def arriving(
    arrivals: Arrivals,
    min_interval_secs: float = 0,
    timeout: float | None = None,
    timeout_fn: Callable[[], object] | None = None,
    *,
    latest_only: bool = False,
) -> Iterator[CheckpointFiles]:
    """Yield checkpoints as they arrive, whole or damaged, each once; at the end also those that were never finished.

    All that a look at the folder finds is handed out; the next look is `min_interval_secs` after it or later.  Where
    nothing came for `timeout` seconds, `timeout_fn` is asked (without a timeout: at every look), and after its True, or
    without it, the folder is looked at once more: the last checkpoint of a training that has ended is not lost.
    """
    look = arrivals.newest if latest_only else arrivals.fresh
    since = time.monotonic()
    while True:
        looked = time.monotonic()
        found = look()
        yield from found
        if any(map(arrivals.is_new, found)):
            since = time.monotonic()
            left = looked + min_interval_secs - since
            time.sleep(max(0, left if timeout is None else min(left, timeout)))
            continue
        over = timeout is not None and looked - since >= timeout
        if (over and timeout_fn is None) or (timeout_fn is not None and (over or timeout is None) and timeout_fn()):
            yield from look()
            yield from () if latest_only else arrivals.unfinished()
            return
        if over:
            since = looked
        # A timeout of 0 asks at every look; looks are a second apart.
        time.sleep(max(0, _LOOK_SECONDS if not timeout else min(_LOOK_SECONDS, since + timeout - time.monotonic())))


def following(folder: str, last: object, *, latest_only: bool) -> str | None:
    """Return the address of the next whole checkpoint after `last`, or (also after None) of another newest."""
    whole = {prefix_of(one): one for one in listed(folder) if one.state == "complete"}
    names = list(whole)
    # The call raises for what is no path.
    known = None if last is None else os.path.abspath(os.fspath(last))  # type: ignore[call-overload]
    if latest_only or known is None:
        names = [name for name in names[-1:] if name != known]
    elif known in whole:
        names = names[names.index(known) + 1 :]
    else:  # it is gone: what comes after its step does
        gone = step_of_name(known)
        names = [name for name, one in whole.items() if gone is None or (step_of(one) or 0) > gone]
    return next(iter(names), None)


def torn(found: CheckpointFiles) -> Torn:
    """Return the error of a checkpoint that nobody finished."""
    return Torn(found.failure[1] if found.failure is not None else f"{main_file(found)}: it is still being written")
