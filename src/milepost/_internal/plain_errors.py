"""Errors as plain data, so that one process raises what another met."""

from typing import Any

from milepost import errors
from milepost.core.types import Json


def plain_error(error: BaseException) -> dict[str, Json]:
    """Describe an error: the names of its classes, nearest first, its kind where it has one, and its message.

    >>> plain_error(errors.Torn("12 bytes missing"))
    {'types': ['Torn', 'CheckpointError', 'MilepostError'], 'kind': 'torn', 'message': '12 bytes missing'}
    >>> plain_error(KeyError("w"))
    {'types': ['KeyError'], 'kind': None, 'message': "'w'"}
    """
    own = [item.__name__ for item in type(error).__mro__ if issubclass(item, errors.MilepostError)]
    kind = errors.OutOfMemory.kind if isinstance(error, MemoryError) else getattr(error, "kind", None)
    return {"types": own or [type(error).__name__], "kind": kind, "message": str(error)}


def raised(described: dict[str, Any]) -> errors.MilepostError:
    """Rebuild the error that `plain_error` describes.

    >>> raised({"types": ["EvaluationFileError", "UsageError"], "kind": None, "message": "no such file"})
    EvaluationFileError('no such file')
    """
    names, kind, message = described["types"], described["kind"], described["message"]
    known = (vars(errors).get(name) for name in names)
    found = (item for item in known if isinstance(item, type) and issubclass(item, errors.MilepostError))
    cls: type[errors.MilepostError] = next(found, errors.MilepostError)
    if kind is not None and (cls is errors.MilepostError or issubclass(cls, errors.CheckpointError)):
        return errors.checkpoint_error(kind, message)
    if cls is errors.MilepostError and names[0] != "MilepostError":
        message = f"{names[0]}: {message}"
    # The class's own __init__ may build its message from other arguments (MissingExtra does); here it is final.
    error = cls.__new__(cls)
    error.args = (message,)
    return error
