"""The laws of a source: whatever range and batch size are asked for, the same rows stand at the same positions.

```python
def test_my_source() -> None:
    check_source(lambda: MySource("test.bin"), changed=[lambda: MySource("test-with-one-label-changed.bin")])
```
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, get_args

import numpy as np

from milepost._internal.serialization import canonical
from milepost.core.capabilities import capability
from milepost.core.protocols import Described, RandomAccess, Sliced, Source
from milepost.core.types import LEAST_WEIGHT, MOST_WEIGHT, Array, Batch
from milepost.data._order import OrderName
from milepost.data._sample import Sample
from milepost.errors import MilepostError
from milepost.testing._capabilities import check_capabilities
from milepost.testing._refusals import refused

Make = Callable[[], Source]
_FAR = 1 << 40
_SIZES = (1, 3, 7, 64)


def check_source(make: Make, changed: Sequence[Make] = ()) -> None:
    """Check a source against every law; raise `AssertionError` where it fails.

    `make` returns a new source of the same data each time, of 20 to a few hundred rows. Each of `changed` makes a
    source that differs from it in content, weights, groups or order: their fingerprints have to differ from its own and
    from one another.
    """
    check_capabilities(make(), Source)
    whole = contents(make().batches(0, _FAR, 10_000))
    assert len(whole) >= 20, f"the laws need 20 rows or more; the source gave {len(whole)}"
    for law in (
        _knows_its_size,
        _is_aligned,
        _ranges_agree,
        _repeats,
        _inverts,
        _samples,
        _is_not_written_into,
        _refuses,
    ):
        law(make, whole)
    for law in (_samples, _keeps_groups_together, _slices_without_inputs, _describes_itself):
        law(make, whole)
    _identifies(make, changed)


def contents(batches: Iterator[Batch]) -> list[tuple[Any, ...]]:
    """Return one comparable tuple a row: position, natural row, inputs, label, weight, id, group, slices by name."""
    found: list[tuple[Any, ...]] = []
    for batch in batches:
        rows = np.arange(batch.start, batch.start + len(batch.labels)) if batch.rows is None else batch.rows
        inputs = batch.inputs if isinstance(batch.inputs, dict) else {"": batch.inputs}
        slices = [] if batch.slices is None else [batch.slices[name] for name in sorted(batch.slices)]
        columns = [*inputs.values(), batch.labels, batch.weights, batch.ids, batch.groups, *slices]
        weights = np.ones(1) if batch.weights is None else batch.weights
        usable = ((weights >= LEAST_WEIGHT) & (weights <= MOST_WEIGHT)).all()
        bounds = f"from {LEAST_WEIGHT} to {MOST_WEIGHT}"
        assert usable, f"weights are {bounds}, where sums are exact; rows of weight 0 are left out"
        for column in columns:
            assert column is None or len(column) == len(rows), "every array of a batch has a value a row"
        for index, row in enumerate(rows.tolist()):
            values = [_plain(column, index) for column in columns]
            found.append((batch.start + index, row, *values))
    return found


def _plain(column: Array | None, index: int) -> Any:
    if column is None:
        return None
    # The width of text may differ from batch to batch; the text may not.
    value = column[index]
    return str(value) if column.dtype.kind in "US" else (str(column.dtype), np.asarray(value).tobytes())


def _knows_its_size(make: Make, whole: list[tuple[Any, ...]]) -> None:
    source = make()
    assert source.size in {None, len(whole)}, f"size is {source.size}, but a pass gave {len(whole)} rows"
    list(source.batches(0, _FAR, 16))
    assert source.size == len(whole), f"after a pass of {len(whole)} rows the size is {source.size}"
    assert [row[0] for row in whole] == list(range(len(whole))), "positions are not 0, 1, 2, ..."
    assert sorted(row[1] for row in whole) == list(range(len(whole))), "rows are not each natural number once"


def _is_aligned(make: Make, whole: list[tuple[Any, ...]]) -> None:
    size = len(whole)
    for batch_size in _SIZES:
        for start, stop in _ranges(size):
            first = start // batch_size * batch_size
            expected = list(range(first, min(stop, size), batch_size)) if start < min(stop, size) else []
            found = list(make().batches(start, stop, batch_size))
            where = f"batches({start}, {stop}, {batch_size})"
            assert [batch.start for batch in found] == expected, f"{where} start at {[batch.start for batch in found]}"
            for batch in found:
                assert len(batch.labels) == min(batch_size, size - batch.start), f"{where}: a batch is not whole"
                assert batch.rows is None or batch.rows.dtype == np.int64, f"{where}: rows are not int64"


def _ranges_agree(make: Make, whole: list[tuple[Any, ...]]) -> None:
    size = len(whole)
    for batch_size in _SIZES:
        for start, stop in _ranges(size):
            found = contents(make().batches(start, stop, batch_size))
            first = start // batch_size * batch_size
            assert found == whole[first : first + len(found)], f"batches({start}, {stop}, {batch_size}) differ"
        cuts = [0, size // 3, size // 3 + 1, size]
        parts = [
            row
            for start, stop in pairwise(cuts)
            for row in contents(make().batches(start, stop, batch_size))
            if start <= row[0] < stop
        ]
        assert parts == whole, f"ranges cut at {cuts} do not make up the whole with batches of {batch_size}"


def _repeats(make: Make, whole: list[tuple[Any, ...]]) -> None:
    source = make()
    for turn in ("first", "second"):
        assert contents(source.batches(0, _FAR, 10)) == whole, f"the {turn} pass over one object differs"
    # One pass that is left early, and two at once, must not disturb another.
    left, other = source.batches(0, _FAR, 5), source.batches(0, _FAR, 5)
    next(left)
    assert contents(other) == whole, "a pass is disturbed by another that has begun"
    close = getattr(left, "close", None)
    if close is not None:
        close()
    assert contents(source.batches(0, _FAR, 10)) == whole, "a pass is disturbed by one that was left early"


def _inverts(make: Make, whole: list[tuple[Any, ...]]) -> None:
    source = make()
    access = capability(source, RandomAccess)
    if access is None:
        return
    list(source.batches(0, _FAR, 100))
    every = np.arange(len(whole))
    rows = access.rows(every)
    assert rows.tolist() == [row[1] for row in whole], "rows(positions) are not the rows of the batches"
    assert access.positions(rows).tolist() == every.tolist(), "positions(rows(x)) is not x"


def _samples(make: Make, whole: list[tuple[Any, ...]]) -> None:
    """Rows by themselves are the rows of a pass, however they are read: gathered, or picked from what is read on."""
    for positions in (np.arange(1, len(whole), 3), np.array([len(whole) - 1])):
        expected = [whole[position][1:] for position in positions.tolist()]
        for batch_size in _SIZES:
            sample = Sample(make(), positions)
            found = list(sample.batches(0, _FAR, batch_size))
            starts = list(range(0, len(positions), batch_size))
            assert [batch.start for batch in found] == starts, f"batches of a sample start at {starts}"
            assert [row[1:] for row in contents(iter(found))] == expected, f"rows {positions.tolist()} differ"
            late = contents(sample.batches(len(positions) - 1, _FAR, batch_size))
            assert late[-1][1:] == expected[-1], f"the last of the rows {positions.tolist()} differs"


def _is_not_written_into(make: Make, whole: list[tuple[Any, ...]]) -> None:
    source = make()
    for batch in source.batches(0, _FAR, 10):
        inputs = batch.inputs if isinstance(batch.inputs, dict) else {"": batch.inputs}
        for array in inputs.values():
            if isinstance(array, np.ndarray) and array.flags.writeable:
                array[...] = np.zeros((), array.dtype)
    assert contents(source.batches(0, _FAR, 10)) == whole, "a model that writes into its inputs changes the source"


def _keeps_groups_together(make: Make, whole: list[tuple[Any, ...]]) -> None:
    source = make()
    groups: list[Any] = []
    for batch in source.batches(0, _FAR, 7):
        groups += [] if batch.groups is None else batch.groups.tolist()
    assert len(groups) in {0, len(whole)}, "some batches carry groups and others do not"
    runs = [group for group, before in zip(groups, [None, *groups], strict=False) if group != before]
    assert len(runs) == len(set(runs)), f"the rows of a group are parted: the groups come as {runs}"
    order = make().fingerprint().get("order", {})
    assert "kind" in order, f"the fingerprint's order is {order}, expected one of a kind: {OrderName}"
    declared = order.get("groups")
    right = (declared is True or declared == len(runs)) if groups else declared is None
    assert right, f"the order's spec says groups: {declared}; the batches carry {len(runs)} groups"
    assert groups or order["kind"] in get_args(OrderName), f"the order is {order['kind']!r}: expected {OrderName}"


def _slices_without_inputs(make: Make, whole: list[tuple[Any, ...]]) -> None:
    source = make()
    sliced = capability(source, Sliced)
    if sliced is None:
        return
    names = {name for batch in source.batches(0, _FAR, 10) for name in batch.slices or ()}
    for start, stop in _ranges(len(whole)):
        given = sliced.slices(start, stop)
        assert set(given) == names, f"slices({start}, {stop}) are {sorted(given)}; the batches carry {sorted(names)}"
        carried = {name: list[Any]() for name in names}
        for batch in source.batches(start, stop, 1):
            for name, values in (batch.slices or {}).items():
                carried[name] += values.tolist()
        for name in names:
            assert given[name].tolist() == carried[name], f"slices({start}, {stop}) differ from the batches in {name!r}"


def _describes_itself(make: Make, whole: list[tuple[Any, ...]]) -> None:
    source = make()
    list(source.batches(0, _FAR, len(whole)))
    described = capability(source, Described)
    if described is not None:
        canonical(described.described())  # raises for what is no plain data


def _refuses(make: Make, whole: list[tuple[Any, ...]]) -> None:
    assert whole
    for start, stop, batch_size in ((0, 10, 0), (-1, 10, 5), (10, 5, 5)):
        with refused(MilepostError, f"batches({start}, {stop}, {batch_size}) is not refused"):
            list(make().batches(start, stop, batch_size))


def _identifies(make: Make, changed: Sequence[Make]) -> None:
    source = make()
    before = source.fingerprint()
    assert {"kind", "digest", "order"} <= before.keys(), f"a fingerprint has kind, digest and order; found {before}"
    list(source.batches(0, _FAR, 50))
    assert source.fingerprint() == before, "a pass changes the fingerprint"
    assert make().fingerprint() == before, "two objects of the same data have two fingerprints"
    seen = {canonical(before): "the source itself"}
    for number, other in enumerate(changed):
        text = canonical(other().fingerprint())
        assert text not in seen, f"the fingerprint of changed[{number}] is that of {seen[text]}"
        seen[text] = f"changed[{number}]"


def _ranges(size: int) -> tuple[tuple[int, int], ...]:
    half = size // 2
    return (0, size), (0, 1), (half, half), (half, half + 1), (half - 1, _FAR), (size - 1, size), (size, _FAR)
