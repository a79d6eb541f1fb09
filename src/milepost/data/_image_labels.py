"""Which class each image of a folder is of: by its sub-folder, or by labels that lie elsewhere.

Labels by file are a CSV, a mapping, or a function of the path below the folder; they are class numbers or names.
"""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from milepost._internal.serialization import digest
from milepost._internal.text import counted, listed
from milepost.core.types import Array, Json
from milepost.data._image_folder import each_of, images_in, labels_of, named, sorted_images
from milepost.errors import DataError, UsageError

Classes = Sequence[str] | Mapping[str, int] | None
Labels = str | os.PathLike[str] | Mapping[str, Any] | Callable[[str], Any]
_FILE_COLUMNS = ("file", "filename", "file_name", "image", "image_id", "imageid", "path", "name", "id")
_LABEL_COLUMNS = ("label", "labels", "class", "class_id", "category", "target")


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """Image files, as paths below the folder, with their labels (int64) and the classes' names.

    `numbered` says by what the classes have their numbers; `digest` stands for all labels in the fingerprint; `skipped`
    are files that are no images, `unlabelled` the number of images that were left out.
    """

    files: list[str]
    labels: Array
    names: dict[int, str] | None
    numbered: str
    digest: Json
    skipped: Sequence[str] = ()
    unlabelled: int = 0


def by_folder(folder: str, classes: Classes, offset: int) -> LabelledFiles:
    """Label the images of a folder by its sub-folders."""
    found, skipped = images_in(folder)
    label_of = labels_of(list(found), classes, offset, folder)
    files = [f"{name}/{file}" for name, files in found.items() for file in files]
    labels = np.array([label_of[name] for name, files in found.items() for _ in files], np.int64)
    numbered = "sub-folders" if classes is None else "mapping" if isinstance(classes, Mapping) else "classes"
    return LabelledFiles(files, labels, named(label_of), numbered, digest(label_of), skipped)


def by_labels(folder: str, given: Labels, classes: Classes, offset: int) -> LabelledFiles:
    """Label the images below a folder, at any depth, by what was given; those whose label is None are left out."""
    files, skipped = sorted_images(folder)
    where = "labels="
    if isinstance(given, str | os.PathLike):
        where += repr(os.fspath(given))
        skipped = [file for file in skipped if os.path.realpath(file) != os.path.realpath(given)]
    found = dict(zip(files, _values(folder, files, given, where), strict=True))
    kept = [file for file in files if found[file] is not None]
    if not kept:
        raise DataError(f"{folder}: {where}: no image has a label")
    values = [found[file] for file in kept]
    numbers = [_number(value) for value in values]
    if all(number is not None for number in numbers):
        labels = np.array(numbers, np.int64) + offset
        names, numbered = _names_of_numbers(classes, offset, labels, where), "numbers"
    else:
        label_of = labels_of(sorted(set(_texts(values, kept, where))), classes, offset, f"{folder}: {where}", "label")
        labels = np.array([label_of[value] for value in values], np.int64)
        names, numbered = named(label_of), "names" if classes is None else "classes"
    if labels.min() < 0:
        raise DataError(
            f"{folder}: {where}: {kept[int(labels.argmin())]} has the label {labels.min()}; labels are 0 or more: give "
            "None (in a CSV, nothing) to leave an image out"
        )
    identity = digest([[file, label] for file, label in zip(kept, labels.tolist(), strict=True)])
    return LabelledFiles(kept, labels, names, numbered, identity, skipped, len(files) - len(kept))


def _values(folder: str, files: Sequence[str], given: Labels, where: str) -> list[Any]:
    """Return one label a file, None for one to be left out."""
    if callable(given):
        return each_of(files, given, "labels")
    table = _read(os.fspath(given), where) if isinstance(given, str | os.PathLike) else given
    if not isinstance(table, Mapping):
        raise UsageError(
            f"labels is a {type(given).__name__}; expected a CSV's path, a mapping from the path below the folder to "
            "the label, or a function of that path"
        )
    known = _by_path(files, table)
    missing, extra = [file for file in files if file not in known], set(map(str, table)) - set(known.values())
    if missing or extra:
        lacking = f"{counted(len(missing), 'image')} without a label: {listed(missing)}" if missing else ""
        absent = f"{counted(len(extra), 'label')} without an image: {listed(sorted(extra))}" if extra else ""
        raise DataError(
            f"{folder}: {where}: {'; '.join(filter(None, [lacking, absent]))}; expected one label for each path below "
            "the folder, and no other: None (in a CSV, nothing) leaves an image out"
        )
    return [table[known[file]] for file in files]


def _by_path(files: Sequence[str], table: Mapping[str, Any]) -> dict[str, str]:
    """Return by which name each file stands in a table: its path below the folder, or that without its ending."""
    stems = Counter(os.path.splitext(file)[0] for file in files)
    found = {}
    for file in files:
        stem = os.path.splitext(file)[0]
        if file in table:
            found[file] = file
        elif stems[stem] == 1 and stem in table:
            found[file] = stem
    return found


def _read(path: str, where: str) -> dict[str, str | None]:
    """Return labels by file name from a CSV; an empty label is None."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}: cannot be read as a CSV in UTF-8: {error}") from error
    columns = _columns(rows[0]) if rows else None
    found: dict[str, str | None] = {}
    for number, row in enumerate(rows[1:] if columns else rows, 2 if columns else 1):
        file_at, label_at = columns or (0, 1)
        if len(row) <= max(file_at, label_at):
            raise DataError(f"{where}: row {number} is {row}; expected a file's name and its label, apart by a comma")
        name, label = row[file_at].strip().replace(os.sep, "/").removeprefix("./"), row[label_at].strip()
        if name in found:
            raise DataError(f"{where}: row {number}: {name} is there twice; expected one label a file")
        found[name] = label or None
    if not found:
        raise DataError(f"{where}: holds no label; expected rows of a file's name and its label, apart by a comma")
    return found


def _columns(head: Sequence[str]) -> tuple[int, int] | None:
    """Return where a header has the files and the labels; None where the first row is no header."""
    names = [cell.strip().lower() for cell in head]
    files = [names.index(name) for name in _FILE_COLUMNS if name in names]
    labels = [names.index(name) for name in _LABEL_COLUMNS if name in names]
    if not files and not labels:
        return None
    file_at = files[0] if files else int(labels[0] == 0)
    return file_at, labels[0] if labels else int(file_at == 0)


def _number(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if value.removeprefix("-").isdecimal() else None
    return int(value) if isinstance(value, int | np.integer) and not isinstance(value, bool) else None


def _texts(values: Sequence[Any], files: Sequence[str], where: str) -> Iterable[str]:
    for value, file in zip(values, files, strict=True):
        if not isinstance(value, str):
            raise DataError(
                f"{where}: {file} has the label {value!r}; expected class numbers for all images, or names for all"
            )
        yield value


def _names_of_numbers(classes: Classes, offset: int, labels: Array, where: str) -> dict[int, str] | None:
    """Return the names that `classes` gives to class numbers."""
    if classes is None:
        return None
    names = named(labels_of([], classes, offset, where))
    if not isinstance(classes, Mapping) and labels.max() - offset >= len(classes):
        raise DataError(f"{where}: label {labels.max() - offset} has no name: classes names 0 to {len(classes) - 1}")
    return names
