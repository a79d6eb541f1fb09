"""From what a torch pickle holds to rows of a table, whichever container torch put it into."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from milepost._internal.bounded import OpenFile
from milepost._internal.text import listed
from milepost.checkpoints._files.layout import dtype_of, is_contiguous, missing, span, unsafe
from milepost.checkpoints._files.roles import role_of
from milepost.checkpoints.formats._torch.storages import View
from milepost.checkpoints.formats._torch.walk import top, walk
from milepost.core.types import Extent, Tensor
from milepost.errors import Unsafe

_OPTIMIZER = {"state", "param_groups"}
"""What the state_dict of torch's optimizers is made of."""


@dataclass(frozen=True, slots=True)
class StoragePlaces:
    """Where the storages of an open file begin, by their keys, and whether its numbers are big-endian."""

    file: OpenFile
    begins: Mapping[str, int]
    big: bool = False


def tensors_of(places: StoragePlaces, value: Any, foreign: Sequence[str] = ()) -> tuple[Tensor, ...]:
    """Return the tensors of an unpickled object in the file's order.

    `foreign` are the names that were not imported.  Raises as `walk`, and `Unsafe` where there is no tensor at all
    but something that only foreign code could make.
    """
    tensors = tuple(_tensor(places, *row) for row in walk(value, places.file.path))
    if top(value).keys() == _OPTIMIZER:
        tensors = tuple(replace(item, role="optimizer") for item in tensors)
    if foreign and not tensors:
        raise Unsafe(
            f"{places.file.path}: holds no tensors that can be read without running code: it names {listed(foreign)}, "
            "which was not run; save the weights with torch.save(model.state_dict())"
        )
    return tensors


def named_by(value: Any, key: str) -> str:
    """Return the full name of the first tensor that lies in a storage, for messages."""
    for group, name, view in walk(value, "the object"):
        if view.storage is not None and view.storage.key == key:
            return "/".join(filter(None, (group, name)))
    return "unnamed"


def _tensor(places: StoragePlaces, group: str, name: str, view: View) -> Tensor:
    where, dtype = _place(places, view)
    role = role_of(group, name)
    if view.unsafe and role == "weights":
        role = "bookkeeping"  # it is refused only where the model has a variable of that name
    return Tensor(name, dtype, view.shape, where, role, group)


def _place(places: StoragePlaces, view: View) -> tuple[Extent, str]:
    path = places.file.path
    if view.odd or view.storage is None:
        place = unsafe if view.unsafe else missing
        return place(view.odd or "no storage", path), view.dtype
    dtype = dtype_of(view.dtype)
    name = view.dtype
    if places.big and dtype.itemsize > 1:
        if dtype.kind == "V":
            return missing(f"big-endian {view.dtype}", path), name
        name = dtype.newbyteorder(">").str
    size = dtype.itemsize
    offset = places.begins[view.storage.key] + view.storage.begin
    reach = span(view.shape, view.strides)
    if not reach:
        return Extent(path, offset, 0), name
    strides = None if is_contiguous(view.shape, view.strides) else tuple(step * size for step in view.strides)
    return Extent(path, offset + view.offset * size, reach * size, "raw", strides), name
