"""Items of a map-style data set that have no class, because of their label: found before any is evaluated.

The labels of a Hugging Face data set lie in a column; of other data sets every item is read once.
"""

from typing import Any

import numpy as np

from milepost._internal import heartbeat
from milepost.core.types import Array
from milepost.data._columns import as_known_labels
from milepost.data._hf_columns import has_gaps, is_hf, labels_in
from milepost.data._labels import Labelling
from milepost.data._torch_arrays import as_arrays
from milepost.data._torch_entries import Names
from milepost.errors import DataError


def labelled_rows(dataset: Any, names: Names, labelling: Labelling) -> tuple[Array | None, dict[str, int]]:
    """Return the numbers of the items that have a class (None: all), and how many have none, by why.

    Nothing is read where no label is declared to be left out, except a Hugging Face data set's column with gaps.
    """
    hugging_face = is_hf(dataset)
    if labelling.drops is None and not (hugging_face and has_gaps(dataset, names.label)):
        return None, {}
    labels = labels_in(dataset, names.label) if hugging_face else None
    if labels is None:
        labels = [_label(dataset, row, names) for row in range(len(dataset))]
    found, unknown = as_known_labels(labels)
    left_out = labelling.left_out(found, unknown, None)
    counted = None if unknown is None else ~unknown
    _, counted = labelling.applied(found, counted)
    rows = np.arange(len(found)) if counted is None else np.flatnonzero(counted)
    if not len(rows):
        raise DataError(f"the {type(dataset).__name__} has no item with a class: all {len(found)} are left out")
    return (None, {}) if len(rows) == len(found) else (rows, left_out)


def _label(dataset: Any, row: int, names: Names) -> Any:
    heartbeat.beat()
    where = f"item {row} of the {type(dataset).__name__}"
    try:
        item = dataset[row]
        found = item[names.label] if isinstance(item, dict) else item[1]
    except Exception as error:
        raise DataError(f"{where}: its label could not be read: {type(error).__name__}: {error}") from error
    label = as_arrays(found) if found is not None else None
    if isinstance(label, np.ndarray):
        if label.ndim:
            raise DataError(f"{where}: its label has shape {label.shape}; only rows of one label can be left out")
        return label.item()
    return label
