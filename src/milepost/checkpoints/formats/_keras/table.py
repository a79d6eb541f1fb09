"""From the datasets of an HDF5 file to the tensors of a table, and from a table's row back to its bytes."""

from collections.abc import Callable, Iterable, Sequence

from milepost._internal.bounded import OpenFile, opened, per_file
from milepost.checkpoints._codecs.hdf5.chunks import assemble
from milepost.checkpoints._codecs.hdf5.datasets import Hdf5Dataset
from milepost.checkpoints._codecs.hdf5.tree import tree
from milepost.checkpoints._codecs.hdf5.window import Window
from milepost.checkpoints._files.layout import missing, name_of, refused
from milepost.checkpoints._files.roles import integer
from milepost.checkpoints.formats._keras.names import NamedDataset, counts_steps, named
from milepost.core.types import Extent, Table, Tensor
from milepost.errors import Torn

ENCODING = "hdf5"
"""How a tensor is stored that is neither raw nor absent: in chunks, within a header, or in a packed archive."""

_NUMBERED = (
    "the optimizer's variables are numbered: if it was made with use_ema, the file does not tell whether a callback "
    "(SwapEMAWeights), an overwrite or the end of `fit` has put the averages in the weights' place"
)


def table_of(form: str, window: Window, notes: Iterable[str] = ()) -> Table:
    """Return the table of one HDF5 file for the format that is named."""
    items = named(tree(window), window.file.path)
    step, source = _step_of(window, items)
    tensors = tuple(_tensor(window, item) for item in items)
    more = [_NUMBERED] if form == "keras_h5" and _may_hold_averages(tensors) else []
    checksum = all(one.dataset.checked or not one.dataset.nbytes for one in items if one.role == "weights")
    return Table(form, tensors, step, source, notes=(*notes, *more), checksum=checksum)


def _may_hold_averages(tensors: Sequence[Tensor]) -> bool:
    """Return whether an optimizer's numbered variables have shapes of weights: moments, or averages."""
    shapes = {item.shape for item in tensors if item.role == "weights" and item.shape}
    numbered = [item for item in tensors if item.role == "optimizer" and item.name.rpartition("/")[2].isdecimal()]
    return any(item.shape in shapes for item in numbered)


def _tensor(window: Window, item: NamedDataset) -> Tensor:
    path, held = window.file.path, item.dataset
    if held.dtype is None:
        return Tensor(item.name, "void", held.shape, missing(held.why, path), item.role, item.group)
    dtype = "bfloat16" if held.bfloat16 else name_of(held.dtype)
    if held.offset is not None and window.unpacked is None:
        where = Extent(path, window.begin + held.offset, held.nbytes)
    else:
        where = Extent(path, held.address, held.nbytes, ENCODING)
    return Tensor(item.name, dtype, held.shape, where, item.role, item.group)


def _step_of(window: Window, items: Sequence[NamedDataset]) -> tuple[int | None, str | None]:
    for item in items:
        if counts_steps(item) and item.dataset.dtype is not None:
            step = integer(bytes_of(window, item.dataset), item.dataset.dtype.str)
            return step, f"content: {'/'.join(filter(None, (item.group, item.name)))}" if step is not None else None
    return None, None


def bytes_of(window: Window, held: Hdf5Dataset) -> bytes | memoryview:
    """Return the values of a dataset in C order."""
    what = f"{window.file.path}: {held.path!r}"
    if held.compact is not None:
        return held.compact
    if held.chunks is not None:
        return assemble(held.chunks, window.at, what)
    return window.at(held.offset or 0, held.nbytes, what)


def fetched(tensor: Tensor, frame: Callable[[OpenFile], Window]) -> bytes | memoryview:
    """Return the bytes of a tensor of encoding `ENCODING`; `frame` gives the window on its file."""
    if tensor.where.encoding != ENCODING:
        raise refused(tensor)
    path = tensor.where.file
    with opened(path) as file:
        window = frame(file)
        held = _by_address(path, frame).get(tensor.where.offset)
        if held is None:
            raise Torn(f"{path}: changed while it was read: tensor {tensor.name!r} is no longer at its place")
        return bytes_of(window, held)


@per_file(2)
def _by_address(path: str, frame: Callable[[OpenFile], Window]) -> dict[int, Hdf5Dataset]:
    with opened(path) as file:
        return {held.address: held for held in tree(frame(file)).datasets.values()}
