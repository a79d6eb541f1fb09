"""PyTorch data: a map-style data set or DataLoader is opened, an iterable one is read as a stream.

Of a map-style DataLoader its data set, collate function and worker processes are used; its sampler and `drop_last` are
not: items are fetched by index in Milepost's own order, in exact batches.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Unpack, cast

import numpy as np

from milepost._internal.serialization import digest
from milepost.core.types import Array, Batch, Json
from milepost.data._columns import as_inputs, as_labels, same_length
from milepost.data._examples import Examples
from milepost.data._fingerprint import content_digest, declared
from milepost.data._grouped_order import ADVICE, Runs, assignment, count, ordered
from milepost.data._labels import LabelOptions, label_options, labelling, named_as
from milepost.data._order import Order, OrderName, Seeded, check_range
from milepost.data._ordered_source import OrderedSource
from milepost.data._sample import picked
from milepost.data._slices_groups import cut, described, lengths, refuse_unknown
from milepost.data._torch_arrays import as_arrays
from milepost.data._torch_class_names import class_names_of
from milepost.data._torch_content import KnownItems, known_content
from milepost.data._torch_entries import Names, checked_items, refuse_turned
from milepost.data._torch_left_out import labelled_rows
from milepost.data._torch_workers import Items, settings, shut_down, unreadable, with_gaps
from milepost.data.batches import Batches
from milepost.errors import DataError, MilepostError, MissingExtra, UnstableData, UsageError

try:
    from torch.utils import data as torch_data
except ModuleNotFoundError as error:
    raise MissingExtra("torch", "torch") from error

_PROBE = 64
_BLOCK = 8192
_STREAM_BATCH = 64
_RANDOM = (
    "a random transform is on (a random crop, flip or erasing, noise); give the evaluation a data set whose transform "
    "has no random step (resize, centre crop, normalise), or one that is seeded by the item's index"
)


class _LoaderOptions(LabelOptions, total=False):
    """Further parameters: entries of dict items; slices and groups may be values instead, one an item."""

    weights: str
    ids: str
    slices: str | Sequence[str] | Mapping[str, Any]
    groups: Any


class TorchLoader(OrderedSource):
    """A PyTorch `DataLoader` or data set, with random access where it has a length and is read by index.

    Items are (inputs, label), (inputs, label, weight), or dicts, for which `inputs` (a name, or names for a model with
    several inputs) and `label`, and where there are any `weights` and `ids`, name the entries. Labels are
    integers. Weights are above 0: leave out rows with `torch.utils.data.Subset`. Tensors are handed on as NumPy arrays
    of the same memory and dtype, which `TorchModel` turns back without a copy.

    A map-style DataLoader's data set, collate function and workers (`num_workers`, `prefetch_factor`,
    `worker_init_fn`, `persistent_workers`, ...) are used; its sampler and `drop_last` are not, and a warning names
    them once. A sampler that picks another number of items than the data set has is refused. A data set by itself is
    read in this process with the default collate function. `order` is "seeded" (default), "natural" or
    "declared-shuffled".

    An `IterableDataset`, or its DataLoader, is a stream in natural order, as `Batches` is.

    `slices` and `groups`, as `Arrays` has them, are names of entries of dict items (`slices=("country",)`,
    `groups="patient"`), or values, one an item (`slices={"country": countries}`, `groups=patients`). Groups by the
    name of an entry are known only once the items are read: then `order` is "natural" or "declared-shuffled", or the
    data a stream. `label_map`, `ignore_index`, `label_offset` and `class_names` are as in `Arrays`: where rows are left
    out by their label, each item is read once beforehand, of a Hugging Face data set only the labels. Where
    `class_names` is not given, the names are those that the data set holds: torchvision's `classes`, or the `features`
    of a Hugging Face data set's label.

    A Hugging Face data set (`datasets`), map-style or iterable, gives arrays with `.with_format("torch")`:
    `TorchLoader(data.with_format("torch"), inputs="pixel_values", label="label")`. A stream of tuples or dicts, such as
    WebDataset's, is an `IterableDataset`: `TorchLoader(DataLoader(stream, batch_size=64), inputs="jpg", label="cls")`.

    64 items are read twice: unequal is `UnstableData`, because a random transform is on; so is a length that changes.
    The fingerprint holds these items, the length, and whatever the data set holds in plain sight: arrays, tensors,
    tables, lists of labels, lists of files (by path, size and mtime), also of data sets that it wraps, and a Hugging
    Face data set's columns. It is weak unless that decides the items alone (`TensorDataset`, most of torchvision's,
    Hugging Face's without embedded images, `Subset` and `ConcatDataset` of these); `version="cifar10-test@1"` declares
    what the data is instead.

    Raises `DataError` for data that is empty, items of unequal shape, labels that are no integers, and workers that
    die.

    >>> import torch
    >>> items = torch_data.TensorDataset(torch.arange(6.0).reshape(3, 2), torch.tensor([7, 8, 9]))
    >>> source = TorchLoader(torch_data.DataLoader(items, batch_size=2), order="natural")
    >>> [(batch.inputs.tolist(), batch.labels.tolist()) for batch in source.batches(0, 3, batch_size=2)]
    [([[0.0, 1.0], [2.0, 3.0]], [7, 8]), ([[4.0, 5.0]], [9])]
    """

    name = "torch_loader"

    def __init__(
        self,
        data: Any,
        *,
        inputs: str | Sequence[str] | None = None,
        label: str | None = None,
        order: OrderName | None = None,
        seed: int = 0,
        version: str | None = None,
        **more: Unpack[_LoaderOptions],
    ) -> None:
        refuse_unknown(more, _LoaderOptions, "TorchLoader")
        self._names = Names.of(inputs, label, more)
        loader = data if isinstance(data, torch_data.DataLoader) else None
        dataset = data if loader is None else loader.dataset
        self._options = named_as(label_options(more), class_names_of(dataset, label))
        self._labelling = labelling(self._options)
        self._own_batch_size = None if loader is None else _batch_size(loader)
        self._version = declared(version, type(self).__name__)
        self._fingerprint: dict[str, Json] | None = None
        self._stream: Batches | None = None
        self._items: Items | None = None
        self._left_out = dict[str, int]()
        self.notes = tuple[str, ...]()
        if isinstance(dataset, torch_data.IterableDataset):
            self._open_stream(data, order)
        else:
            self._open_items(dataset, loader, order or "seeded", seed)
        for note in self.notes:
            warnings.warn(note, stacklevel=2)

    def _open_stream(self, data: Any, order: str | None) -> None:
        if order not in {None, "natural"}:
            raise UsageError(f"order is {order!r}, but an IterableDataset is a stream and has none but its own")
        if self._names.slice_values is not None or self._names.group_values is not None:
            raise UsageError(
                'slices and groups of a stream are entries of its dict items: name them, as in groups="patient"; '
                "values, one an item, are for a data set that is read by index"
            )
        self._stream = Batches(
            lambda: _streamed(data, self._names),
            version=self._version,
            groups=self._names.groups is not None,
            **self._options,
        )
        if isinstance(data, torch_data.DataLoader) and data.drop_last:
            self.notes = ("the DataLoader's drop_last is not used: the last, shorter batch is evaluated too",)

    def _open_items(self, dataset: Any, loader: Any, order: str, seed: int) -> None:
        self._size = _length(dataset)
        if loader is not None:
            self.notes = _opened(loader, self._size, order)
        same_length(self._size, lengths(self._names.slice_values, self._names.group_values), "items of the data set")
        rows, self._left_out = labelled_rows(dataset, self._names, self._labelling)
        if rows is not None:
            dataset, self._names = torch_data.Subset(dataset, rows.tolist()), self._names.taken(rows)
            self._size = len(rows)
        self._items = Items(dataset, loader)
        self._order = _ordered(order, self._size, seed, self._names)

    @property
    def size(self) -> int | None:
        """Number of items; None for a stream until a pass went to the end."""
        return self._size if self._stream is None else self._stream.size

    @property
    def own_batch_size(self) -> int | None:
        """The DataLoader's own, None of a data set by itself, and where batches differ."""
        return self._own_batch_size

    def described(self) -> dict[str, Json]:
        """Return plain data to show: what there is of classes, slices (names), groups (True: unknown) and notes."""
        groups = True if self._names.groups is not None else None if self._stream else count(self._order)
        names = self._names.slices or tuple(self._names.slice_values or ())
        found = described(self.class_names, names, groups, self.notes)
        left_out = self._left_out if self._stream is None else self._stream.described().get("left_out")
        return {**found, "left_out": dict(left_out)} if left_out else found

    @property
    def order(self) -> Order:
        """The order in which items are read."""
        return self._order if self._stream is None else self._stream.order

    def fingerprint(self) -> dict[str, Json]:
        """Return kind, digest, size and order (those of `Batches` for a stream); computed once an object.

        Reads 64 items twice, whether or not a version was declared; raises `UnstableData` where the two differ, and
        where the data set has another length by now.
        """
        if self._stream is not None:
            return self._stream.fingerprint()
        if self._fingerprint is None:
            self._check_length(cast(Items, self._items))
            known = KnownItems() if self._version else known_content(cast(Items, self._items).dataset)
            found = [self._probe(), digest(dict(known.parts))]
            self._fingerprint = {
                "kind": self.name,
                **({"version": self._version} if self._version else _weak(known)),
                "digest": digest(self._version or found),
                "size": self._size,
                **self._labelling.spec(),
                **assignment(self._order),
                "order": self._order.spec() | ({} if self._names.groups is None else {"groups": True}),
            }
        return dict(self._fingerprint)

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        """Yield whole batches that touch positions [start, stop), cut at multiples of `batch_size` and at the size."""
        first = check_range(start, stop, batch_size)
        if self._items is None:
            yield from cast(Batches, self._stream).batches(start, stop, batch_size)
            return
        self._check_length(self._items)
        stop = min(stop, self._size)
        if start >= stop:
            return
        position, runs = first, Runs(ADVICE)
        for rows, found in self._items.fetched(lambda: self._plan(first, stop, batch_size)):
            piece = self._checked(found, rows)
            if piece.groups is not None:
                runs.see(piece.groups, rows)
            yield self._batch(piece, rows, position)
            position += len(rows)

    def gather(self, positions: Array, batch_size: int) -> Iterator[Batch]:
        """Yield the rows at these positions, `batch_size` at a time; `start` counts them.  A stream is read to them."""
        if self._items is None:
            yield from picked(cast(Batches, self._stream), positions, batch_size)
            return
        self._check_length(self._items)
        rows = self._order.rows(positions).tolist()
        cuts = [rows[low : low + batch_size] for low in range(0, len(rows), batch_size)]
        for number, (own, found) in enumerate(self._items.fetched(lambda: iter(cuts))):
            yield self._batch(self._checked(found, own), own, number * batch_size)

    def _batch(self, piece: Examples, rows: list[int], position: int) -> Batch:
        numbers = np.array(rows, np.int64)
        slices = piece.slices or cut(self._names.slice_values, numbers)
        groups = piece.groups if self._names.group_values is None else self._names.group_values[numbers]
        return replace(piece, slices=slices, groups=groups).batch(position, numbers)

    def _check_length(self, items: Items) -> None:
        """Refuse a data set that has another length by now: which rows were evaluated would be a matter of chance."""
        if (now := len(items)) != self._size:
            raise UnstableData(
                f"the {items.named} has {now} items; it had {self._size} when it was opened: __len__ must return the "
                "same number every time, and files must not come or go while it is evaluated"
            )

    def _checked(self, found: Any, rows: list[int]) -> Examples:
        arrays = as_arrays(found)
        if self._items is not None and self._items.collates_plainly:
            refuse_turned(arrays, self._names, f"item {rows[0]}")
        return checked_items(arrays, self._names, rows, self._labelling)

    def _plan(self, first: int, stop: int, batch_size: int) -> Iterator[list[int]]:
        """Yield the rows of each batch; a call of the order costs as much for one batch as for many."""
        block = max(1, _BLOCK // batch_size) * batch_size
        for base in range(first, stop, block):
            last = min(base + block, -(-stop // batch_size) * batch_size, self._size)
            rows = self._order.rows(np.arange(base, last)).tolist()
            yield from (rows[begin : begin + batch_size] for begin in range(0, len(rows), batch_size))

    def _probe(self) -> str:
        """Return a digest of a fair sample of the items, whatever the order; they are read one by one, twice."""
        items = cast(Items, self._items)
        rows = Seeded(self._size).rows(np.arange(min(_PROBE, self._size))).tolist()
        first = [self._digest(items, row) for row in rows]
        for row, before in zip(rows, first, strict=True):
            if self._digest(items, row) != before:
                raise UnstableData(f"item {row} of the {items.named}, read twice, differs: {_RANDOM}")
        return digest([self._size, *first])

    def _digest(self, items: Items, row: int) -> str:
        return content_digest(self._checked(items.read([row]), [row]).named())


def _batch_size(loader: Any) -> int | None:
    """Return a DataLoader's batch size, or that of the sampler of batches that it was given instead."""
    size = loader.batch_size if loader.batch_size is not None else getattr(loader.batch_sampler, "batch_size", None)
    return size if isinstance(size, int) and size > 0 else None


def _weak(known: KnownItems) -> dict[str, Json]:
    """Return what says on how many items the identity of the data rests, and on which attributes besides."""
    return {} if known.whole else {"weak": _PROBE, **({"known": sorted(known.parts)} if known.parts else {})}


def _length(dataset: Any) -> int:
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise UsageError(
            f"TorchLoader takes a DataLoader, a data set with __getitem__ and __len__, or an IterableDataset; found a "
            f"{type(dataset).__name__}"
        )
    size = len(dataset)
    if size < 1:
        raise DataError(f"the {type(dataset).__name__} is empty; is its folder, split or filter the right one?")
    return size


def _ordered(name: str, size: int, seed: int, names: Names) -> Order:
    """Return the order of the items; groups that are not known yet are looked at while a pass goes on."""
    if names.groups is not None and name == "seeded":
        raise UsageError(
            f"groups={names.groups!r} names an entry, which is known only once the items are read; a seeded "
            'order needs one value an item: groups=[...]; or pass order="natural", where groups stand together'
        )
    return ordered(name, size, seed, names.group_values)


def _opened(loader: Any, size: int, order: str) -> tuple[str, ...]:
    """Return a note on what is not used of a loader; refuse one that picks other items than the data set's."""
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    kind = type(sampler).__name__
    # A distributed sampler picks this process's share, and is no choice of data.
    shared = isinstance(sampler, torch_data.DistributedSampler)
    picked = len(sampler) if hasattr(sampler, "__len__") else size
    if picked != size and not shared:
        raise UsageError(
            f"the DataLoader's {kind} picks {picked} items of the {size} in its data set, but Milepost reads every "
            "item once; to evaluate only some items, pass torch.utils.data.Subset(dataset, indices)"
        )
    unused = [] if isinstance(sampler, torch_data.SequentialSampler) else [f"its {kind}"]
    if loader.drop_last or getattr(loader.batch_sampler, "drop_last", False):
        unused.append("drop_last")
    if not unused:
        return ()
    what = " and ".join(unused)
    note = f"the DataLoader was opened: its data set of {size} items, collate function and workers are used; {what} "
    return (f"{note}{'are' if len(unused) > 1 else 'is'} not: every item is read once, in {order} order",)


def _streamed(data: Any, names: Names) -> Iterator[Batch]:
    """Yield the batches of an iterable data set, the last short one included."""
    like = data if isinstance(data, torch_data.DataLoader) else torch_data.DataLoader(data, batch_size=_STREAM_BATCH)
    plainly = like.collate_fn is torch_data.default_collate
    loader: Iterable[Any] = torch_data.DataLoader(
        like.dataset,
        batch_size=like.batch_size,
        collate_fn=partial(with_gaps, label=names.label) if plainly else like.collate_fn,
        **settings(like),
    )
    found = iter(loader)
    try:
        made = (_batch(item, names, f"batch {number} of the stream", plainly) for number, item in enumerate(found))
        head = list(islice(made, like.num_workers))
        _check_shares(head)
        yield from head
        yield from made
    except MilepostError:
        raise
    except Exception as error:
        raise unreadable(error) from error
    finally:
        shut_down(found)


def _batch(item: Any, names: Names, where: str, plainly: bool) -> Batch:  # noqa: FBT001 - whether PyTorch collates
    arrays = as_arrays(item)
    if plainly:
        refuse_turned(arrays, names, where)
    return names.batch(arrays, where)


def _check_shares(head: list[Batch]) -> None:
    """Refuse workers that all read the whole stream: they hand in batches in turn, so their first ones are equal."""
    if len(head) > 1 and len({_content(batch) for batch in head}) == 1:
        raise DataError(
            f"the {len(head)} workers of the DataLoader all begin with the same rows: each reads the whole stream, so "
            f"that every row would count {len(head)} times; share it out by torch.utils.data.get_worker_info() in "
            "__iter__, or set num_workers=0"
        )


def _content(batch: Batch) -> str:
    inputs = as_inputs(batch.inputs)
    return content_digest({**(inputs if isinstance(inputs, dict) else {"": inputs}), "labels": as_labels(batch.labels)})
