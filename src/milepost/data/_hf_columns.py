"""The columns of a Hugging Face data set, digested as they lie in its Arrow table: nothing is decoded.

Columns of numbers, text, and lists of numbers count whole; images and audio by their files, or, where their bytes lie
in the table, by their names and the number of bytes alone.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from milepost._internal.serialization import digest
from milepost.core.types import Json
from milepost.data._fingerprint import content_digest
from milepost.data._held_content import held_digest


def is_hf(dataset: Any) -> bool:
    """Return whether this is a map-style `datasets.Dataset`, without importing the package."""
    kind = type(dataset)
    return kind.__module__.partition(".")[0] == "datasets" and kind.__name__ == "Dataset"


def labels_in(dataset: Any, name: str | None) -> list[Any] | None:
    """Return the labels as they lie in a column, None for gaps; None where there is no such column."""
    return list(dataset.with_format(None)[name]) if name in dataset.column_names else None


def has_gaps(dataset: Any, name: str | None) -> bool:
    """Return whether a column has gaps, as its Arrow table knows without a look at the values."""
    return name in dataset.column_names and dataset.data.column(name).null_count > 0


def columns_known(dataset: Any) -> tuple[dict[str, Json], bool]:
    """Return digests by column, and whether these hold all that decides the items."""
    found, whole = dict[str, Json](), True
    for name in dataset.column_names:
        digested, complete = _column(dataset.data.column(name))
        whole = whole and complete
        if digested is not None:
            found[str(name)] = digested
    chosen = dataset._indices  # noqa: SLF001 - what select() and filter() leave has no public name
    if chosen is not None:
        found["indices"] = content_digest({"": chosen.column(0).to_numpy()})
    return found, whole


def _column(column: Any) -> tuple[str | None, bool]:
    """Return the digest of an Arrow column, and whether it is of all that the column holds."""
    kind = str(column.type)
    if kind.startswith("struct<") and "path: string" in kind:
        return _media(column)
    if kind in {"string", "large_string"}:
        return digest(column.to_pylist()), True
    with suppress(ValueError, TypeError, NotImplementedError, AttributeError):
        found = _numbers(column)
        return (None, False) if found is None else (digest([kind, column.null_count, found]), True)
    return None, False


def _numbers(column: Any) -> str | None:
    """Return the digest of a column of numbers, or of lists of them, nested or not; None for anything else."""
    values, lengths = column.combine_chunks(), list[str]()
    values = getattr(values, "storage", values)  # of arrays of fixed shape
    while str(values.type).startswith(("list<", "large_list<")):
        lengths.append(content_digest({"": np.asarray(values.value_lengths())}))
        values = values.flatten()
    array = np.asarray(values)
    return None if array.dtype.hasobject else digest([lengths, content_digest({"": array})])


def _media(column: Any) -> tuple[str | None, bool]:
    """Return the digest of images or sounds: of their files, else of their names and their bytes together."""
    chunks = column.combine_chunks()
    paths = chunks.field("path").to_pylist()
    held = held_digest(paths) if all(isinstance(path, str) for path in paths) else None
    inside: Mapping[str, Json] = {"bytes": column.nbytes, "paths": held[0] if held else digest(paths)}
    return digest(inside), held is not None and held[1]
