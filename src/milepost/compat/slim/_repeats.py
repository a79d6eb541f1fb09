"""Whether a number of evaluations takes more rows than the data has, so that some of them count twice.

Slim's own evaluation script is such a case: batches of 100 from an endless reader, `ceil(360 / 100)` of them, are 400
rows of 360.  The graph tells: data that begins again (`repeat`, an input producer without `num_epochs`), how many rows
one run takes from it, and how many it has, if TensorFlow knows.  What functions of `tf.data` hide is not looked into.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf

_REPEATS = {"RepeatDataset": 1, "ShuffleAndRepeatDataset": 4, "ShuffleAndRepeatDatasetV2": 4}
"""Which input says how often."""
_BATCHES = {
    "BatchDataset": 1,
    "BatchDatasetV2": 1,
    "MapAndBatchDataset": -3,
    "PaddedBatchDataset": 1,
    "PaddedBatchDatasetV2": 1,
    "ParallelBatchDataset": 1,
}
"""Which input says how many rows."""
_ONE_TO_ONE = ("Map", "ParallelMap", "Prefetch", "Shuffle", "Cache", "Options", "Model", "Optimize", "Zip", "MaxIntra")
_DEQUEUES = ("QueueDequeueV2", "QueueDequeueManyV2", "QueueDequeueUpToV2")


@dataclass(frozen=True, slots=True)
class Repeating:
    """Data that begins again: how much one run takes of it, and how much there is, where the graph says so.

    `size` is a number, or a tensor that tells it (negative: TensorFlow does not know).
    """

    taken: int | None
    size: Any
    what: str = "rows"

    def warning(self, num_evals: int, size: int | None) -> str | None:
        """Return what is to be said of so many runs over data of this size (None: unknown)."""
        wanted = None if self.taken is None else num_evals * self.taken
        advice = (
            "let the data end (no repeat(); num_epochs=1 and allow_smaller_final_batch=True with queues) and give "
            "num_evals=None"
        )
        if size is None or wanted is None:
            least = "they take" if wanted is None else f"{wanted} {self.what}"
            return (
                f"num_evals={num_evals} on data that begins again at its end: where it has fewer than {least}, some "
                f"count twice; {advice}"
            )
        if wanted <= size:
            return None
        return f"num_evals={num_evals} takes {wanted} {self.what} of data that has {size}: some count twice; {advice}"


def repeating(operations: Iterable[Any]) -> list[Repeating]:
    """Return the repeating data that operations take from; adds to the graph what asks `tf.data` for its size."""
    found: list[Repeating] = []
    for op in _ancestors(operations):
        if op.type == "IteratorGetNext":
            for dataset in _datasets(op.inputs[0].op):
                found += _of_dataset(dataset, 1)
        elif op.type in _DEQUEUES:
            found += _of_queue(op.inputs[0], _dequeued(op))
    return found


def _ancestors(operations: Iterable[Any]) -> Iterator[Any]:
    """Yield operations and all that they need."""
    waiting, reached = list(operations), set()
    while waiting:
        op = waiting.pop()
        if op.name not in reached:
            reached.add(op.name)
            yield op
            waiting += [tensor.op for tensor in op.inputs] + list(op.control_inputs)


def _datasets(iterator: Any) -> list[Any]:
    """Return what an iterator goes over; a one-shot iterator's is what no other operation of the graph takes."""
    if iterator.type != "OneShotIterator":
        made = (op for op in iterator.outputs[0].consumers() if op.type == "MakeIterator")
        return [op.inputs[0].op for op in made]
    every = (op for op in iterator.graph.get_operations() if "Dataset" in op.type and op.outputs)
    loose = [op for op in every if op.outputs[0].dtype == tf.variant and not op.outputs[0].consumers()]
    return loose if len(loose) == 1 else []


def _of_dataset(op: Any, taken: int | None) -> list[Repeating]:
    if op.type == "TakeDataset":
        return []
    if op.type in _REPEATS and _static(op.inputs[_REPEATS[op.type]]) != 1:
        batched = any(before.type in _BATCHES for before in _ancestors([op.inputs[0].op]))
        size = tf.raw_ops.DatasetCardinality(input_dataset=_sized(op.inputs[0]))
        return [Repeating(taken, size, "batches" if batched else "rows")]
    if op.type in _BATCHES:
        taken = _times(taken, _static(op.inputs[_BATCHES[op.type]]))
    elif op.type not in _REPEATS and not op.type.startswith(_ONE_TO_ONE):
        taken = None
    return [found for tensor in op.inputs if tensor.dtype == tf.variant for found in _of_dataset(tensor.op, taken)]


def _sized(dataset: Any) -> Any:
    """Return the data set below those that have as many rows: TensorFlow 1's `map` says nothing of its size."""
    while dataset.op.type.startswith(_ONE_TO_ONE) and dataset.op.type not in ("ZipDataset", *_BATCHES):
        dataset = dataset.op.inputs[0]
    return dataset


def _of_queue(queue: Any, taken: int | None) -> list[Repeating]:
    """Follow a queue to those who fill it, and to the queues that these take from."""
    found: list[Repeating] = []
    fillers = [op for op in queue.consumers() if op.type.startswith("QueueEnqueue")]
    for filler in fillers[:1]:  # several threads fill a queue with the same
        before = list(_ancestors(tensor.op for tensor in filler.inputs[1:]))
        if any(op.type.endswith("CountUpTo") and op.get_attr("limit") == 1 for op in before):  # num_epochs
            continue
        many = filler.type == "QueueEnqueueManyV2"
        queues = [op for op in before if op.type in _DEQUEUES]
        readers = [op for op in before if op.type.startswith("ReaderRead")]
        for op in queues:
            found += _of_queue(op.inputs[0], None if many else _times(taken, _dequeued(op)))
        for op in readers:  # files repeat, and nobody counted their records
            found += [Repeating(taken, -1) for _ in _of_queue(op.inputs[1], None)]
        if many and not queues and not readers:
            rows = filler.inputs[1].shape
            found.append(Repeating(taken, -1 if rows.rank is None or rows[0] is None else int(rows[0])))
    return found


def _dequeued(op: Any) -> int | None:
    return 1 if op.type == _DEQUEUES[0] else _static(op.inputs[1])


def _times(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left * right


def _static(tensor: Any) -> int | None:
    value = tf.get_static_value(tensor)
    return None if value is None else int(value)
