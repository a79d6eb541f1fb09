"""Publishing: what an evaluation is, the parts that come back, and its failures, put into the store."""

import os
from dataclasses import replace

from milepost._internal.serialization import now, to_plain
from milepost.checkpoints._files.shards import reworded
from milepost.core.types import Array, Description, Failure, Part
from milepost.run.items import Item, ItemLookup
from milepost.store.data_identity import rests_on
from milepost.store.datasets import Dataset
from milepost.store.doubled_rows import doubled_rows
from milepost.store.keys import BESIDES
from milepost.store.store import Store


class Publisher:
    """Puts what one driver learns into the store; everything there is put once and never changes."""

    def __init__(self, store: Store, spec: Description, items: ItemLookup) -> None:
        self._store = store
        self._spec = spec
        self._items = items
        self._datasets: dict[str, Dataset] = {}
        self._whole: set[str] = set()
        self._warned: set[str] = set()
        self._named: set[str] = set()

    def describe(self, item: Item) -> None:
        """Put what an item's evaluation is, and what its data is."""
        data = self._items.data[item.data]
        if item.data not in self._datasets:
            order = data.fingerprint.get("order", {"kind": "natural"})
            described = {name: value for name, value in data.described.items() if name != "classes"}
            dataset = self._store.dataset(data.digest)
            dataset.write_spec({**to_plain(replace(data, described=described)), "order": order, "name": item.data})
            self._datasets[item.data] = dataset
        spec = {
            "weights": item.target.digest,
            "data": data.digest,
            "data_name": item.data,
            "task": self._spec.task,
            **{name: value for name in BESIDES if (value := getattr(self._spec, name))},
            "code": item.code,
            "file": file_of(self._spec),
            "variant": item.target.variant,
            "size": data.size,
            "created": now(),
        }
        if weak := rests_on(data.fingerprint, data.size):
            spec["rests_on"] = weak
        missing = item.checkpoint.notes.get("missing")
        if missing:
            spec["missing"] = missing
        self._store.evaluation(item.key).describe(spec)

    def class_names(self, data: str) -> None:
        """Put the names of a data set's classes, which the same data may have been given since."""
        if data not in self._named:
            described = self._items.data[data]
            names = {int(label): str(name) for label, name in described.described.get("classes", {}).items()}
            self._store.dataset(described.digest).class_names.add(names)
            self._named.add(data)

    def part(self, item: Item, part: Part) -> str | None:
        """Put a part: its own columns with the evaluation, those of the data (`data.`) with the data set.

        Returns a warning where rows are not as an earlier pass saw them.
        """
        own = {name: column for name, column in part.columns.items() if not name.startswith("data.")}
        shared = {name[5:]: column for name, column in part.columns.items() if name.startswith("data.")}
        data = self._items.data[item.data]
        dataset = self._datasets[item.data]
        for name in [name for name in shared if name.startswith("slice.")]:
            dataset.slice(name[6:]).add(part.start, part.stop, {"value": shared.pop(name)})
        checksums = shared.pop("checksum", None)
        dataset.add(part.start, part.stop, shared)  # first: what differs among labels is said so
        warning = None if checksums is None else self._checked(item.data, part, checksums)
        environment = {**part.environment, "engine_host": os.uname().nodename}
        parts = self._store.evaluation(item.key).parts(item.column_set)
        parts.publish(replace(part, columns=own, environment=environment), data.size)
        if (part.start, part.stop) == (0, data.size) and not part.states and not item.coverage:
            self._whole.add(item.key)  # it is put as what its seal would be
        return warning

    def _checked(self, data: str, part: Part, checksums: Array) -> str | None:
        """Compare the rows of a part with what is on record; return one warning a data set."""
        device = part.environment.get("device")
        made_with = {**part.environment.get("made_with", {}), **({"device": str(device)} if device else {})}
        warning = self._datasets[data].checksums.add(part.start, part.stop, checksums, made_with)
        if warning is None or data in self._warned:
            return None
        self._warned.add(data)
        return f"{data}: {warning}: values of before and now are not of quite the same inputs"

    def seal(self, item: Item) -> str | None:
        """Join the parts of an item, and of its data, where they are whole; return a warning where rows are doubled."""
        data, warning = self._items.data[item.data], None
        if item.stop != data.size:
            return None
        dataset = self._store.dataset(data.digest)
        if data.digest not in self._whole and dataset.seal(data.size):
            self._whole.add(data.digest)
            doubled = doubled_rows(dataset, data.size)
            warning = f"{item.data}: {doubled}" if doubled else None
        if item.key not in self._whole:
            self._store.evaluation(item.key).parts(item.column_set).seal(data.size)
        return warning

    def finished(self, item: Item) -> None:
        """Hold nothing of an item any more: memory does not grow with checkpoints."""
        self._whole.discard(item.key)
        self._store.evaluation(item.key).finished()

    def failure(self, item: Item, failure: Failure) -> tuple[str, int]:
        """Put a failure; return its message, worded with the checkpoint's own path, and the number of attempts."""
        failures = self._store.evaluation(item.key).failures
        attempt = len(failures.list()) + 1
        message = reworded(failure.message, item.target.files.path, item.checkpoint.path)
        failures.publish(attempt, {"kind": failure.kind, "message": message, "path": item.checkpoint.path, "at": now()})
        return message, attempt


def file_of(spec: Description) -> str:
    """Return by which name an evaluation file is known, to tell its code from another file's; "" without a file.

    The name with its folder's: a project that was copied or mounted elsewhere keeps it.

    >>> file_of(Description(file="/home/ann/lenet/eval.py"))
    'lenet/eval.py'
    """
    return "/".join(spec.file.split(os.sep)[-2:]) if spec.file else ""
