"""What a data set holds in plain sight, digested without reading an item: arrays, lists of labels, lists of files.

Plain values only: what is no array, number, text or list of these says nothing here.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from milepost._internal.serialization import digest
from milepost.core.types import Array, Json
from milepost.data._fingerprint import content_digest

_LARGE = 1 << 28
"""Bytes of an array above which shape and dtype stand for it, or its file: reading it would take as long as a pass."""
_ROOTS = ("root", "root_dir", "folder", "data_dir", "image_dir", "img_dir", "images_dir", "directory")


def files_digest(paths: Sequence[str]) -> str:
    """Return a digest of files by path, size and mtime; paths count from the folder that all have in common.

    So that a data set is the same on another machine, copy it with its times (`cp -a`, `rsync -a`).
    """
    common = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in set(paths)]) if paths else ""
    return digest([[os.path.relpath(path, common), *_size_and_time(path)] for path in paths])


def _size_and_time(path: str) -> tuple[int, int] | tuple[()]:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns


def held_digest(value: Any, roots: Sequence[str] = (), *, large: int = _LARGE) -> tuple[str, bool] | None:
    """Return a digest of an array, a list of plain values or a dict of these, and whether it lists files.

    A list of paths, or of tuples with a path (`[("cat/1.png", 0), ...]`), counts by path, size and mtime; relative ones
    lie below one of the `roots`.  None for anything else, and for what is empty.
    """
    if isinstance(value, np.ndarray):
        found = _array_digest(value, large)
        return None if found is None else (found, False)
    if isinstance(value, Mapping):
        items = {str(name): held_digest(item, roots, large=large) for name, item in value.items()}
        known = {name: item for name, item in items.items() if item is not None}
        return (digest({name: item[0] for name, item in known.items()}), _any_files(known)) if known else None
    return _list_digest(value, roots) if isinstance(value, list | tuple) and value else None


def _any_files(known: Mapping[str, tuple[str, bool]]) -> bool:
    return any(files for _, files in known.values())


def _array_digest(array: Array, large: int) -> str | None:
    if array.dtype.hasobject or not array.size:
        return None
    if array.nbytes <= large:
        return content_digest({"": array})
    file = getattr(array, "filename", None)
    return digest([str(array.dtype), list(array.shape), _size_and_time(str(file)) if file else ()])


def _list_digest(values: Sequence[Any], roots: Sequence[str]) -> tuple[str, bool] | None:
    """Return a digest of a list of numbers, texts, paths, or tuples of these."""
    rows = [item if isinstance(item, list | tuple) else (item,) for item in values]
    if len({len(row) for row in rows}) > 1:
        return _plain_digest(values)
    columns: list[Json] = []
    files = False
    for column in zip(*rows, strict=True):
        listed = _files(column, roots)
        files = files or listed is not None
        found = _plain_digest(column) if listed is None else (files_digest(listed), True)
        if found is None:
            return None
        columns.append(found[0])
    return (digest(columns), files) if columns else None


def _files(values: Sequence[Any], roots: Sequence[str]) -> list[str] | None:
    """Return the paths of files, None where the values are none; the first one decides."""
    if not all(isinstance(value, str | os.PathLike) for value in values):
        return None
    named = [os.fspath(value) for value in values]
    for root in ("", *roots):
        if os.path.isfile(os.path.join(root, named[0])):
            return [os.path.join(root, name) for name in named]
    return None


def _plain_digest(values: Sequence[Any]) -> tuple[str, bool] | None:
    """Return a digest of plain values, nested or not; None where one of them is something else."""
    with suppress(TypeError, ValueError, OverflowError):
        kinds = set(map(type, values))
        if len(kinds) == 1 and kinds <= {int, float, bool}:
            return content_digest({"": np.array(values)}), False
        return digest([_plain(value) for value in values]), False
    return None


def _plain(value: Any) -> Json:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def roots_of(attributes: Mapping[str, Any]) -> list[str]:
    """Return the folders that a data set's attributes name as places of its files."""
    found = (attributes.get(name) for name in _ROOTS)
    return [os.fspath(root) for root in found if isinstance(root, str | os.PathLike)]
