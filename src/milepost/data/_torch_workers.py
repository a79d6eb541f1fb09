"""A map-style PyTorch data set, read by index, in this process or in the workers of a DataLoader."""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np

from milepost._internal.text import listed
from milepost.errors import DataError, MilepostError, MissingExtra, UsageError

try:
    import torch
    from torch.utils import data as torch_data
except ModuleNotFoundError as error:
    raise MissingExtra("torch", "torch") from error

_FROM_WORKER = "in DataLoader worker process"


class Items:
    """A map-style data set, read by index: here, or in the worker processes that its DataLoader asked for."""

    def __init__(self, dataset: Any, loader: Any) -> None:
        self.dataset = dataset
        self.named = type(dataset).__name__
        self._collate: Callable[[Any], Any] = torch_data.default_collate
        # Without batching a DataLoader's own collate function converts single items.
        if loader is not None and loader._auto_collation:  # noqa: SLF001 - it has no public name
            self._collate = loader.collate_fn
        self._loader = loader
        self._workers = 0 if loader is None else loader.num_workers
        self._kept: _KeptLoader | None = None
        self._lock = threading.Lock()

    @property
    def collates_plainly(self) -> bool:
        """Whether items are put together by PyTorch's own function."""
        return self._collate is torch_data.default_collate

    def __len__(self) -> int:
        """Return the number of items that the data set has now."""
        return len(self.dataset)

    def fetched(self, plan: Callable[[], Iterator[list[int]]]) -> Iterator[tuple[list[int], Any]]:
        """Yield (rows, what the collate function gave) for each list of rows."""
        if not self._workers:
            for rows in plan():
                yield rows, self.read(rows) if self.collates_plainly else _own(self.read(rows))
            return
        yield from self._from_workers(plan)

    def read(self, rows: list[int]) -> Any:
        """Read items in this process, as the collate function gives them."""
        try:
            many = getattr(self.dataset, "__getitems__", None)
            items = many(rows) if callable(many) else [self.dataset[row] for row in rows]
            return self._collate(items)
        except MilepostError:
            raise
        except Exception as error:
            raise self._blame(rows, error) from error

    def _from_workers(self, plan: Callable[[], Iterator[list[int]]]) -> Iterator[tuple[list[int], Any]]:
        kept = self._taken()
        asked: deque[list[int]] = deque()
        found: Any = None
        lasting = False
        try:
            found = kept.start(plan, asked)
            while True:
                try:
                    batch = next(found)
                except StopIteration:
                    break
                except Exception as error:
                    rows = list(asked[0]) if asked else []
                    # What the data set or collate function raised in a worker arrives with these words.
                    raised = _FROM_WORKER in str(error)
                    raise (self._blame(rows, error) if raised else self._died(rows, error)) from error
                yield asked.popleft(), batch
            lasting = kept.persistent
        except GeneratorExit:
            lasting = kept.persistent
            raise
        finally:
            if lasting:
                with self._lock:
                    self._kept = self._kept or kept  # its workers live on for the next pass
            else:
                shut_down(found)

    def _taken(self) -> "_KeptLoader":
        with self._lock:
            kept, self._kept = self._kept, None
        return kept or _KeptLoader(self.dataset, self._collate, self._loader)

    def _blame(self, rows: list[int], error: Exception) -> DataError:
        """Return an error that names the item at fault, which is looked for among the rows."""
        for row in rows:
            try:
                item = self.dataset[row]
            except Exception as own:  # noqa: BLE001 - whatever the user's data set raises
                return DataError(f"item {row} of the {self.named} could not be read: {_cause(own)}")
            if item is None:
                return DataError(
                    f"item {row} of the {self.named} is None, which a collate function may drop, but every row counts: "
                    "mend the items that cannot be read, or leave them out beforehand: "
                    "torch.utils.data.Subset(data, [i for i in range(len(data)) if data[i] is not None])"
                )
            entry = _none_in(item)
            if entry is not None:
                return DataError(
                    f"item {row} of the {self.named} holds None as its entry {entry!r}, which PyTorch's collate "
                    "function does not take; where that is the label, pass ignore_index=-100: rows whose label is "
                    "that, or None, are left out and counted"
                )
        return DataError(
            f"items {_places(rows)} of the {self.named} do not go into one batch: {_cause(error)}; every item needs "
            "inputs of one shape and dtype: resize or pad them in the transform, or in the collate function"
        )

    def _died(self, rows: list[int], error: Exception) -> DataError:
        return DataError(
            f"a worker process of the DataLoader died or hung at rows {_places(rows)} of the {self.named}: "
            f"{_cause(error)}; is memory, or shared memory, full? num_workers=0 shows what the data set itself does"
        )


class _KeptLoader:
    """A DataLoader of ours, whose batches are those of the pass that has it."""

    def __init__(self, dataset: Any, collate: Callable[[Any], Any], model: Any) -> None:
        self.persistent = bool(model.persistent_workers)
        self._plan = _Plan()
        self._begun: Any = None
        # Not the user's generator, whose state would change, and never the same seeds twice: a random transform in
        # the workers must not look as if it repeated.
        generator = torch.Generator()
        generator.seed()
        self._loader = torch_data.DataLoader(
            dataset, batch_sampler=cast(Any, self._plan), collate_fn=collate, generator=generator, **settings(model)
        )

    def start(self, plan: Callable[[], Iterator[list[int]]], asked: deque[list[int]]) -> Iterator[Any]:
        """Begin a pass; rows go to `asked` as workers are given them."""
        self._plan.rows, self._plan.asked = plan, asked
        try:
            begun = iter(self._loader)
        except Exception as error:
            raise UsageError(
                f"the DataLoader's workers cannot be started: {_cause(error)}; with the start method spawn, data set "
                "and collate function must be picklable (no lambda, no open file); num_workers=0 does without workers"
            ) from error
        _unwatched(begun)
        if self.persistent and begun is not self._begun:
            # The iterator is in a circle of PyTorch's; this ends its workers before the collector finds it.
            weakref.finalize(self, shut_down, begun)
            self._begun = begun
        return begun


class _Plan:
    """The batches of the pass that goes on, as the sampler of a loader (which it does not know: no circle keeps it)."""

    def __init__(self) -> None:
        self.rows: Callable[[], Iterator[list[int]]] = lambda: iter(())
        self.asked: deque[list[int]] = deque()

    def __iter__(self) -> Iterator[list[int]]:
        asked = self.asked
        for rows in self.rows():
            asked.append(rows)
            yield rows


def shut_down(found: Any) -> None:
    """End the workers of a DataLoader's iterator now: left to the collector, each can take five seconds."""
    end = getattr(found, "_shutdown_workers", None)
    if end is not None:
        end()


def _unwatched(found: Any) -> None:
    """Take the workers off PyTorch's SIGCHLD handler, which raises in the main thread, whatever that is doing.

    A dead worker is still found by the pass that waits for it, which looks after its workers every five seconds: there
    the error names the rows, and it ends no other evaluation.
    """
    if getattr(found, "_worker_pids_set", False):
        torch._C._remove_worker_pids(id(found))  # noqa: SLF001 - it has no public name
        found._worker_pids_set = False  # noqa: SLF001 - else the pids are taken off again at the end


def settings(loader: Any) -> dict[str, Any]:
    """Return a DataLoader's settings for its workers."""
    names = ("num_workers", "timeout", "worker_init_fn", "multiprocessing_context")
    kept = ("prefetch_factor", "persistent_workers") if loader.num_workers else ()
    return {name: getattr(loader, name) for name in (*names, *kept)}


def _own(found: Any) -> Any:
    """Copy tensors that a collate function of the user's may have taken from the data set's own memory."""
    if isinstance(found, torch.Tensor):
        return found.clone()
    if isinstance(found, np.ndarray):
        return found.copy()
    if isinstance(found, Mapping):
        return {name: _own(item) for name, item in found.items()}
    if isinstance(found, tuple | list):
        return [_own(item) for item in found]
    return found


def _none_in(item: Any) -> Any:
    """Return the key or the place of an item's first entry that is None; None where there is none."""
    entries = item.items() if isinstance(item, Mapping) else enumerate(item) if isinstance(item, tuple | list) else ()
    return next((key for key, value in entries if value is None), None)


def with_gaps(items: list[Any], label: str | None) -> Any:
    """Put the items of a stream together as PyTorch does; labels stay a list where some are None."""
    key: Any = label if isinstance(items[0], Mapping) else 1
    try:
        labels = [item[key] for item in items]
    except (TypeError, LookupError):  # what these are is said where the batch is read
        labels = []
    if all(one is not None for one in labels):  # `in` would compare arrays
        return torch_data.default_collate(items)
    known = next((one for one in labels if one is not None), 0)
    filled = [_replaced(item, key, known if item[key] is None else item[key]) for item in items]
    plain = [one.item() if hasattr(one, "item") else one for one in labels]
    return _replaced(torch_data.default_collate(filled), key, plain)


def _replaced(item: Any, key: Any, value: Any) -> Any:
    if isinstance(item, Mapping):
        return {**item, key: value}
    return [value if place == key else entry for place, entry in enumerate(item)]


def unreadable(error: Exception) -> DataError:
    """Return the error for what a stream raised, here or in a worker."""
    return DataError(f"the stream could not be read: {_cause(error)}")


def _places(rows: list[int]) -> str:
    return listed(list(map(str, rows)))


def _cause(error: BaseException) -> str:
    """Return an error's type and last line: one from a worker holds its whole traceback."""
    lines = str(error).strip().splitlines()
    last = lines[-1] if lines else "no message"
    kind = type(error).__name__
    return last if last.startswith(kind) else f"{kind}: {last}"
