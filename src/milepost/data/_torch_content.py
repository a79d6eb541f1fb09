"""What is known of a map-style data set without reading an item of it.

Labels and whatever else lies there as arrays or lists is digested whole, so that one corrected label in 50,000 makes
other data of it.  `whole` says that nothing else decides the items: that is known only of kinds whose code we know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from milepost.core.types import Json
from milepost.data._fingerprint import content_digest
from milepost.data._held_content import held_digest, roots_of
from milepost.data._hf_columns import columns_known, is_hf
from milepost.data._torch_arrays import as_arrays
from milepost.errors import DataError, MissingExtra

try:
    import torch
    from torch.utils import data as torch_data
except ModuleNotFoundError as error:
    raise MissingExtra("torch", "torch") from error

_UNLIMITED = 1 << 62
_LABELS = frozenset({"targets", "labels", "samples", "_targets", "_labels", "_samples"})
_WRAPPED = 8
"""How deep data sets within data sets are looked into."""


@dataclass(frozen=True, slots=True)
class KnownItems:
    """Digests of what a data set holds, by the attribute's name, and whether they are all that decides its items."""

    parts: Mapping[str, Json] = field(default_factory=dict)
    whole: bool = False


def known_content(dataset: Any, depth: int = 0) -> KnownItems:
    """Return what a data set holds, as far as it costs no decoding."""
    if depth > _WRAPPED:
        return KnownItems()
    kind = type(dataset)
    if kind is torch_data.TensorDataset:
        return _tensors(dataset)
    if kind is torch_data.Subset:
        inner = known_content(dataset.dataset, depth + 1)
        chosen = content_digest({"": np.asarray(list(dataset.indices), np.int64)})
        return KnownItems({"indices": chosen, **_below("dataset", inner)}, inner.whole)
    if kind is torch_data.ConcatDataset:
        inners = [known_content(item, depth + 1) for item in dataset.datasets]
        parts = (_below(f"datasets[{place}]", inner) for place, inner in enumerate(inners))
        named = {name: part for each in parts for name, part in each.items()}
        return KnownItems(named, all(inner.whole for inner in inners))
    if is_hf(dataset):
        return KnownItems(*columns_known(dataset))
    return _attributes(dataset, depth)


def _below(name: str, inner: KnownItems) -> dict[str, Json]:
    return {f"{name}.{part}": found for part, found in inner.parts.items()}


def _tensors(dataset: Any) -> KnownItems:
    try:
        arrays = {str(place): as_arrays(tensor) for place, tensor in enumerate(dataset.tensors)}
    except DataError:  # sparse ones, which are named when an item is read
        return KnownItems()
    return KnownItems({"tensors": content_digest(arrays)}, whole=True)


def _attributes(dataset: Any, depth: int) -> KnownItems:
    """Return what the attributes of an object hold; torchvision's data sets are known by labels and files, or data."""
    attributes: Mapping[str, Any] = getattr(dataset, "__dict__", {})
    torchvision = type(dataset).__module__.startswith("torchvision.datasets")
    parts: dict[str, Json] = {}
    roots, seen, found_inputs = roots_of(attributes), dict[int, str](), False
    for name, value in sorted(attributes.items()):
        if isinstance(value, torch_data.Dataset) or is_hf(value):
            parts |= _below(name, known_content(value, depth + 1))
        elif id(value) not in seen:  # `imgs` is `samples`
            seen[id(value)] = name
            held = _held(value, roots, large=_UNLIMITED if torchvision else None)
            if held is not None:
                parts[name] = held[0]
                found_inputs = found_inputs or held[1] or name == "data"
    return KnownItems(parts, torchvision and found_inputs and bool(parts.keys() & _LABELS))


def _held(value: Any, roots: list[str], large: int | None) -> tuple[str, bool] | None:
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided or value.is_meta:
            return None
        value = as_arrays(value)
    elif type(value).__module__.partition(".")[0] == "pandas":
        value = _frame(value)
    return held_digest(value, roots) if large is None else held_digest(value, roots, large=large)


def _frame(value: Any) -> dict[str, Any]:
    """Return the columns of a table, or of a Series, as arrays or lists."""
    columns = {str(name): value[name] for name in value.columns} if hasattr(value, "columns") else {"": value}
    plain = {name: column for name, column in columns.items() if hasattr(column, "to_numpy")}
    return {name: _listed(column.to_numpy()) for name, column in plain.items()}


def _listed(column: Any) -> Any:
    return column.tolist() if column.dtype.hasobject else column
