"""The images of a folder, one sub-folder a class, and the labels of the classes."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from milepost._internal.text import counted, listed
from milepost.core.types import Array
from milepost.data._slices_groups import Slices, as_groups, as_slices
from milepost.errors import DataError, UsageError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Files that end so, in any case, are images; others are left out, with a warning."""


def images_in(folder: str) -> tuple[dict[str, list[str]], list[str]]:
    """Return the images of each class, as sorted paths below the class's folder, and all other files."""
    found: dict[str, list[str]] = {}
    skipped: list[str] = []
    for entry in _entries(folder):
        if not entry.is_dir():
            if entry.name.lower().endswith(SUFFIXES):
                raise DataError(
                    f"{entry.path}: belongs to no class; expected one sub-folder a class in {folder}; labels that lie "
                    "elsewhere go into labels=: a CSV, a mapping from path to label, or a function of the path"
                )
            skipped.append(entry.path)
            continue
        files = list(_below(entry.path, frozenset()))
        images = [file for file in files if file.lower().endswith(SUFFIXES)]
        skipped += [file for file in files if not file.lower().endswith(SUFFIXES)]
        if not images:
            raise DataError(f"{entry.path}: holds no image; expected files that end in {', '.join(SUFFIXES)}")
        found[entry.name] = sorted(os.path.relpath(file, entry.path).replace(os.sep, "/") for file in images)
    if not found:
        raise DataError(f"{folder}: is empty; expected one sub-folder a class, with images in it")
    return found, skipped


def sorted_images(folder: str) -> tuple[list[str], list[str]]:
    """Return all images below a folder, as sorted paths below it, and all other files."""
    files = list(_below(folder, frozenset()))
    images = [file for file in files if file.lower().endswith(SUFFIXES)]
    if not images:
        raise DataError(f"{folder}: holds no image; expected files that end in {', '.join(SUFFIXES)}")
    relative = sorted(os.path.relpath(file, folder).replace(os.sep, "/") for file in images)
    return relative, [file for file in files if not file.lower().endswith(SUFFIXES)]


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((item for item in entries if not item.name.startswith(".")), key=lambda item: item.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed as a folder of images: {error.strerror}") from error


def _below(folder: str, above: frozenset[str]) -> Iterator[str]:
    """Yield every file below a folder; links are followed, but never back to a folder above."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _below(entry.path, above | {real})
        else:
            yield entry.path


def labels_of(
    found: list[str],
    classes: Sequence[str] | Mapping[str, int] | None,
    offset: int,
    folder: str,
    what: str = "sub-folder",
) -> dict[str, int]:
    """Return labels by the class's name; `found` are the names that there are, which `what` calls."""
    if isinstance(classes, str):
        raise UsageError(f"classes is the text {classes!r}; expected a sequence of names, or a mapping to labels")
    if isinstance(classes, Mapping):
        labels = {str(name): int(label) + offset for name, label in classes.items()}
    else:
        names = found if classes is None else list(classes)
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError(f"classes names {twice!r} twice")
        labels = {name: place + offset for place, name in enumerate(names)}
    missing = sorted(set(found) - labels.keys())
    if missing:
        raise DataError(
            f"{folder}: {counted(len(missing), what)} not among the {len(labels)} declared classes: {listed(missing)}"
        )
    if min(labels.values()) < 0:
        raise UsageError(f"the smallest label is {min(labels.values())}; labels are 0 or more")
    return labels


def named(labels: Mapping[str, int]) -> dict[int, str]:
    """Return names by label; classes that a mapping gives one label share a name."""
    names: dict[int, str] = {}
    for name, label in sorted(labels.items(), key=lambda item: (item[1], item[0])):
        names[label] = f"{names[label]} | {name}" if label in names else name
    return names


def slices_of(files: Sequence[str], function: Callable[[str], Mapping[str, Any]] | None) -> Slices | None:
    """Return the values that a function of the path gives, by the slice's name; all paths have the same names."""
    rows = each_of(files, function, "slices")
    if not rows:
        return None
    names = None
    for file, row in zip(files, rows, strict=True):
        if not isinstance(row, Mapping):
            raise DataError(f"slices of {file}: expected a mapping from the slice's name to its value; found {row!r}")
        names = set(row) if names is None else names
        if set(row) != names:
            raise DataError(
                f"slices of {file}: are {sorted(map(str, row))}; those of {files[0]} are {sorted(map(str, names))}: "
                "every path has the same"
            )
    return as_slices({name: [row[name] for row in rows] for name in rows[0]})


def groups_of(files: Sequence[str], function: Callable[[str], Any] | None) -> Array | None:
    rows = each_of(files, function, "groups")
    return as_groups(rows) if rows else None


def each_of(files: Sequence[str], function: Callable[[str], Any] | None, what: str) -> list[Any]:
    """Return what a function of the path gives for each file; `what` it is stands in messages."""
    if function is None:
        return []
    if not callable(function):
        raise UsageError(
            f"{what} is a {type(function).__name__}; expected a function of the file's path below the folder, such as "
            f'{what}=lambda path: path.split("/")[1]'
        )
    rows: list[Any] = []
    for file in files:
        try:
            rows.append(function(file))
        except Exception as error:  # whatever the user's function raises
            raise DataError(f"{what} of {file}: the function raised {type(error).__name__}: {error}") from error
    return rows
