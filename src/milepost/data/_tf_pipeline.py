"""What the transformations of a `tf.data.Dataset` show: whether it is batched, repeated, shuffled, or drops rows.

TensorFlow keeps the chain in objects whose names are private but have been the same for years; an unknown name
shows nothing, and the user has to declare what does not show.
"""

from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import tensorflow as tf

from milepost.errors import UnstableData, UsageError

_BATCHED = {"BatchDataset", "ParallelBatchDataset", "PaddedBatchDataset", "RaggedBatchDataset", "RebatchDataset"}
_UNKNOWN = {"UnbatchDataset", "FlatMapDataset", "InterleaveDataset", "ParallelInterleaveDataset", "ZipDataset"}
_HANDED_ON = {"DatasetV1Adapter", "PrefetchDataset", "OptionsDataset", "CacheDataset", "ModelDataset"}
"""These change no element."""
_ENDLESS = 1 << 62


def kind(dataset: Any) -> str:
    """Return a transformation's name, such as "BatchDataset"."""
    return type(dataset).__name__.lstrip("_")


def inputs(dataset: Any) -> list[Any]:
    if isinstance(dataset, tf.compat.v1.data.Dataset) and hasattr(dataset, "_dataset"):
        return [dataset._dataset]  # noqa: SLF001 - TensorFlow 1's wrapper hides the data set that it wraps
    found = getattr(dataset, "_inputs", None)
    return list(found()) if callable(found) else []


def constant(value: Any) -> Any:
    """Return a parameter of a transformation as a Python value; None where it is not known before the graph runs."""
    found = tf.get_static_value(value)
    return None if found is None else found.item()


def walk(dataset: Any) -> Iterator[Any]:
    """Yield a data set and all that it is made of, the last transformation first."""
    waiting = [dataset]
    while waiting:
        found = waiting.pop()
        yield found
        waiting.extend(reversed(inputs(found)))


def batched(dataset: Any) -> Any | None:
    """Return the transformation that made the batches, None where there is none that shows."""
    for found in walk(dataset):
        if kind(found) in _BATCHED:
            return found
        if kind(found) in _UNKNOWN or len(inputs(found)) > 1:
            return None
    return None


def batch_size(dataset: Any) -> int | None:
    """Return the rows of a batch, where the transformation that made it shows them."""
    size = constant(getattr(batched(dataset), "_batch_size", None))
    return size if isinstance(size, int) and size > 0 else None


def refuse_repeated(dataset: Any) -> None:
    """Raise a `UsageError` where rows would come again and again."""
    for found in walk(dataset):
        times = constant(getattr(found, "_count", None)) if kind(found) == "RepeatDataset" else 1
        if times != 1:
            how = "for ever" if times in {None, -1} else f"{times} times"
            raise UsageError(
                f"the tf.data.Dataset repeats its rows {how} (repeat()), and an evaluation counts each once; leave "
                "repeat() out of the data for evaluation"
            )


def refuse_shuffled(dataset: Any) -> None:
    """Raise `UnstableData` where the order is another in every pass, or in every process."""
    for found in walk(dataset):
        if kind(found) == "ShuffleDataset":
            seeds = (constant(getattr(found, "_seed", None)), constant(getattr(found, "_seed2", None)))
            again = getattr(found, "_reshuffle_each_iteration", True)
            if again or seeds == (0, 0):
                when = "pass" if again else "process"
                raise UnstableData(
                    f"the tf.data.Dataset is shuffled again in every {when} (shuffle()), so that checkpoints cannot "
                    "be compared row by row; leave shuffle() out of the data for evaluation, or "
                    "give it a seed and reshuffle_each_iteration=False"
                )
        if getattr(found, "_deterministic", None) in {"false", False}:
            raise UnstableData(
                f"the order of the tf.data.Dataset is left to chance ({kind(found)} with deterministic=False); "
                "set deterministic=True, or leave it out"
            )


def kept_whole(dataset: Any) -> tuple[Any, str | None]:
    """Return the data set with the rows that `drop_remainder=True` leaves out, and a note where that was done.

    Where nothing but hand-overs (prefetch, cache, options) follow the batches, the rows are read from before them.
    Raises `UsageError` where rows are lost and cannot be had back: naming how many, where the count is known.
    """
    batches = batched(dataset)
    # padded_batch and rebatch come with or without it; what is not known before the graph runs is not looked into.
    if batches is None or not constant(getattr(batches, "_drop_remainder", None)):
        return dataset, None
    size = constant(getattr(batches, "_batch_size", None))
    (before,) = inputs(batches)
    rows = _count(before)
    lost = None if rows is None or size is None else rows % size
    if lost == 0:
        return dataset, None
    lost_rows = f"up to {'the batch size' if size is None else size} - 1" if lost is None else str(lost)
    what = f"the last rows ({lost_rows}{'' if rows is None else f' of {rows}'})"
    plain = kind(batches) in {"BatchDataset", "ParallelBatchDataset"} and size is not None
    if plain and _follow(dataset, batches, _HANDED_ON):
        return before.batch(size), f"drop_remainder=True is not used: {what} are evaluated too"
    raise UsageError(
        f"the tf.data.Dataset leaves out {what}, because its batch() has drop_remainder=True; Milepost evaluates every "
        "row: set drop_remainder=False"
    )


def is_endless(dataset: Any) -> bool:
    """Return whether TensorFlow knows that a data set never ends; a counter claims to have 2**63 - 1 rows."""
    found = constant(dataset.cardinality())
    return found is not None and (found == tf.data.INFINITE_CARDINALITY or found >= _ENDLESS)


def _follow(dataset: Any, batches: Any, kinds: set[str]) -> bool:
    """Return whether only transformations of these kinds follow the batches."""
    return all(kind(found) in kinds for found in takewhile(lambda found: found is not batches, walk(dataset)))


def _count(dataset: Any) -> int | None:
    found = constant(dataset.cardinality())
    return None if found is None or found < 0 else int(found)


def rows(dataset: Any, *, is_batched: bool) -> int | None:
    """Return how many rows there are, where TensorFlow knows it without reading them."""
    if not is_batched:
        return _count(dataset)
    found = batched(dataset)
    known = found is not None and kind(found) in {"BatchDataset", "ParallelBatchDataset", "PaddedBatchDataset"}
    # What drops nothing has all rows of what it was made of; take(), skip() and filter() after it do not.
    if not known or not _follow(dataset, found, {*_HANDED_ON, "MapDataset", "ParallelMapDataset"}):
        return None
    dropped, size = (constant(getattr(found, name, None)) for name in ("_drop_remainder", "_batch_size"))
    count = None if dropped is None or not inputs(found) else _count(inputs(found)[0])
    return None if count is None or (dropped and (not size or count % size)) else count
