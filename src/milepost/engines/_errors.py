"""Errors as plain data, so that a driver raises what its evaluator or reader raised."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from milepost import errors
from milepost.core.types import Failure

TAIL = 8
"""Lines of a traceback that go into a message."""


def plain_error(error: BaseException) -> dict[str, Any]:
    """Describe an error: the names of its classes, nearest first, its kind where it has one, and its message.

    >>> plain_error(errors.Torn("12 bytes missing"))
    {'types': ['Torn', 'CheckpointError', 'MilepostError'], 'kind': 'torn', 'message': '12 bytes missing'}
    """
    return {
        "types": [item.__name__ for item in type(error).__mro__ if issubclass(item, errors.MilepostError)],
        "kind": getattr(error, "kind", None),
        "message": str(error),
    }


def raised(described: dict[str, Any]) -> errors.MilepostError:
    """Rebuild the error that `plain_error`, or the reader's `{"kind", "type", "message"}`, describes.

    >>> raised({"type": "EvaluationFileError", "kind": None, "message": "no such file"})
    EvaluationFileError('no such file')
    """
    names = described.get("types") or [str(described.get("type"))]
    message, kind = str(described.get("message", "")), described.get("kind")
    known = _classes()
    found = next((known[name] for name in names if name in known), errors.MilepostError)
    if kind is not None and (found is errors.MilepostError or issubclass(found, errors.CheckpointError)):
        return errors.checkpoint_error(kind, message)
    if found is errors.MilepostError and names[0] != "MilepostError":
        message = f"{names[0]}: {message}"
    # The class's own __init__ may build its message from other arguments (MissingExtra does); here it is final.
    error = found.__new__(found)
    error.args = (message,)
    return error


def failure_of(error: errors.CheckpointError) -> Failure:
    """Return the row of an error of one checkpoint."""
    return Failure(error.kind, str(error))


@contextmanager
def as_file_error(file: str | None, doing: str) -> Iterator[None]:
    """Turn whatever the user's evaluation raises by itself into an `EvaluationFileError`; our own errors pass."""
    try:
        yield
    except errors.MilepostError:
        raise
    except (Exception, SystemExit) as error:
        raise errors.EvaluationFileError(
            f"{file or 'the evaluation'} cannot be used: an error while {doing}\n{_tail(error)}"
        ) from error


@contextmanager
def as_checkpoint_error(doing: str) -> Iterator[None]:
    """Turn whatever the user's model raises while it works on checkpoints into a `CheckpointError`."""
    try:
        yield
    except errors.MilepostError:
        raise
    except MemoryError as error:
        raise errors.OutOfMemory(f"out of memory while {doing}\n{_tail(error)}") from error
    except SystemExit as error:
        raise errors.Crashed(f"code of the evaluation called sys.exit({error.code!r}) while {doing}") from error
    except Exception as error:
        raise errors.ModelFailed(f"an error while {doing}\n{_tail(error)}") from error


@contextmanager
def as_unreadable(path: str) -> Iterator[None]:
    """Turn whatever a reader raises beyond its own errors into `Corrupt`: one strange file does not end a run."""
    try:
        yield
    except (errors.CheckpointError, errors.UsageError):
        raise
    except MemoryError as error:
        raise errors.OutOfMemory(f"{path}: reading its table needs more memory than there is") from error
    except Exception as error:
        said = str(error) if isinstance(error, errors.MilepostError) else f"{type(error).__name__}: {error}"
        raise errors.Corrupt(f"{path}: the reader could not make sense of it: {said}") from error


def _tail(error: BaseException) -> str:
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    return "\n".join(lines[-TAIL:])


def _classes() -> dict[str, type[errors.MilepostError]]:
    return {
        name: item
        for name, item in vars(errors).items()
        if isinstance(item, type) and issubclass(item, errors.MilepostError)
    }
