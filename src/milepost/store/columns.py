"""Reading columns over the archives that hold them: slices, gathers, states, environments."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from milepost.core.types import Array
from milepost.errors import StoreError
from milepost.store import _archive, _ranges

_SMALL = 1 << 18
"""Bytes of a column that is kept in memory once it was read, where it lies in one archive."""

STATE = "state/"
"""Members of an archive that hold states are named `state/<spec digest>`, in a sealed one with the rows behind."""


@dataclass(frozen=True, slots=True)
class Span:
    """Rows [start, stop) of the order, which an archive holds from its row `first` on."""

    archive: _archive.Archive
    start: int
    stop: int
    first: int

    @property
    def last(self) -> int:
        """The archive's row behind the last one that is taken."""
        return self.first + self.stop - self.start


class ColumnsReader:
    """Reads the columns that a store holds of one evaluation or data set, sealed or still in parts.

    `coverage` is the merged ranges, `names` the columns.  Memory is for the rows asked for only.
    """

    def __init__(self, resolve: Callable[[], list[Span]]) -> None:
        """Take the function that finds the archives; it is asked again when parts were sealed meanwhile."""
        self._resolve = resolve
        self._refresh()

    def slice(self, name: str, start: int, stop: int) -> Array:
        """Return rows [start, stop) of a column, in order; a `StoreError` where some are not covered."""
        layout = self._layout(name)
        if not any(first <= start <= stop <= last for first, last in [*self.coverage, (start, start)]):
            raise StoreError(f"rows [{start}, {stop}) of column {name!r} are not covered; covered: {self.coverage}")
        return self._again(lambda: self._slice(layout, start, stop))

    def take(self, name: str, positions: Array) -> Array:
        """Return the rows at these positions of the order; a `StoreError` where one is not covered."""
        layout = self._layout(name)
        wanted = np.asarray(positions, np.int64)
        return self._again(lambda: self._take(layout, wanted))

    @property
    def has_states(self) -> bool:
        """Whether there are states of metrics whose columns are not kept."""
        return any(member.startswith(STATE) for span in self._spans for member in span.archive.members)

    def states(self, spec_digest: str) -> Iterator[bytes]:
        """Yield the states of a metric, by its spec's digest, in the order of their rows."""
        done = -1
        while True:
            try:
                for start, archive, member in self._states(f"{STATE}{spec_digest}"):
                    if start > done:
                        data = archive.read(member).tobytes()
                        done = start
                        yield data
            except FileNotFoundError:
                # Sealed meanwhile: go on behind the last state that was handed out.
                self._refresh()
            else:
                return

    def environments(self) -> list[dict[str, Any]]:
        """Return the distinct environments, each with its count of `rows` and the sum of its `timings`."""
        return environments(self._spans)

    def _states(self, name: str) -> list[tuple[int, _archive.Archive, str]]:
        found = []
        for span in self._spans:
            for member in span.archive.members:
                if member == name:
                    found.append((span.start, span.archive, member))
                elif member.startswith(f"{name}/"):
                    found.append((int(member[len(name) + 1 :].partition("-")[0]), span.archive, member))
        return found

    def _refresh(self) -> None:
        self._small: dict[str, Array] = {}
        try:
            self._spans = self._resolve()
        except FileNotFoundError:  # sealed in this moment
            self._spans = self._resolve()
        self._layouts = {layout.name: layout for layout in layouts(self._spans)}
        self.coverage = _ranges.merged((span.start, span.stop) for span in self._spans)
        self.names = list(self._layouts)

    def _again(self, call: Callable[[], Array]) -> Array:
        try:
            return call()
        except FileNotFoundError:
            self._refresh()
            return call()

    def _layout(self, name: str) -> "ColumnLayout":
        if name not in self._layouts:
            raise StoreError(f"no column {name!r} is kept here; there are: {', '.join(self.names) or 'none'}")
        return self._layouts[name]

    def _slice(self, layout: "ColumnLayout", start: int, stop: int) -> Array:
        out = np.empty((stop - start, *layout.row), layout.dtype)
        for span in self._spans:
            low, high = max(start, span.start), min(stop, span.stop)
            if low < high:
                shift = span.first - span.start
                out[low - start : high - start] = self._column(span, layout.name, low + shift, high + shift)
        return out

    def _column(self, span: Span, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Return rows of an archive's column; a small one is read whole, once: each metric asks for it again."""
        member = span.archive.members[name]
        if member.row * member.shape[0] > _SMALL or len(self._spans) > 1:
            return span.archive.map(name) if stop is None else span.archive.read(name, start, stop)
        if name not in self._small:
            few = sum(each.stored for each in span.archive.members.values()) <= _SMALL
            self._small |= span.archive.read_all() if few else {name: span.archive.read(name)}
        return self._small[name][start:stop]

    def _take(self, layout: "ColumnLayout", wanted: Array) -> Array:
        if len(self._spans) == 1:
            (span,) = self._spans
            if len(wanted) and span.start <= wanted.min() and wanted.max() < span.stop:
                column = self._column(span, layout.name)
                return np.asarray(column[wanted - (span.start - span.first)], layout.dtype)
        index = np.searchsorted([span.start for span in self._spans], wanted, side="right") - 1
        stops = np.array([span.stop for span in self._spans] or [0], np.int64)
        outside = int(np.count_nonzero((index < 0) | (wanted >= stops[np.maximum(index, 0)])))
        if outside:
            raise StoreError(f"{outside} positions of {layout.name!r} are not covered: there are {self.coverage}")
        out = np.empty((len(wanted), *layout.row), layout.dtype)
        order = np.argsort(index, kind="stable")
        for here in np.split(order, np.flatnonzero(np.diff(index[order])) + 1) if len(order) else []:
            span = self._spans[int(index[here[0]])]
            out[here] = self._column(span, layout.name)[wanted[here] - span.start + span.first]
        return out


def environments(spans: list[Span]) -> list[dict[str, Any]]:
    """Return the distinct environments of some spans; `timings` (seconds by name) and `rows` are summed.

    Every process checks the model on its own first batch: the `model_check` with the largest `relative` difference is
    kept, and what the first process saw of its `inputs` and `outputs`.
    """
    found: dict[str, dict[str, Any]] = {}
    for span in spans:
        listed = span.archive.header.get("environments", [])
        for item in listed:
            rows = span.stop - span.start if len(listed) == 1 else item["rows"]
            rest = {key: value for key, value in item.items() if key not in ("rows", "timings")}
            same = {key: value for key, value in rest.items() if key not in ("model_check", "inputs", "outputs")}
            known = found.setdefault(json.dumps(same, sort_keys=True), {**rest, "rows": 0, "timings": {}})
            if _largest(rest) > _largest(known):
                known["model_check"] = rest["model_check"]
            known["rows"] += rows
            for name, seconds in item.get("timings", {}).items():
                known["timings"][name] = known["timings"].get(name, 0.0) + seconds
    return [found[key] for key in sorted(found)]


def _largest(environment: dict[str, Any]) -> float:
    model_check = environment.get("model_check")
    return float(model_check.get("relative", -1.0)) if isinstance(model_check, dict) else -1.0


@dataclass(frozen=True, slots=True)
class ColumnLayout:
    """A column of several spans: one name, one dtype, one row shape."""

    name: str
    dtype: "np.dtype[Any]"
    row: tuple[int, ...]


def layouts(spans: list[Span]) -> list[ColumnLayout]:
    """Return the columns that all spans hold alike; text widens, anything else that differs is a `StoreError`."""
    found = []
    for name in sorted({name for span in spans for name in span.archive.members if not name.startswith(STATE)}):
        dtype: np.dtype[Any] | None = None
        row: tuple[int, ...] = ()
        for span in spans:
            member = span.archive.members.get(name)
            if member is None:
                raise span.archive.damaged(f"column {name!r} is missing, other parts have it")
            if len(member.shape) < 1 or member.shape[0] < span.last:
                raise span.archive.damaged(f"column {name!r} has shape {member.shape}, expected {span.last} rows")
            dtype = _joined(span, name, dtype, member.dtype)
            if span is not spans[0] and member.shape[1:] != row:
                raise span.archive.damaged(f"rows of {name!r} have shape {member.shape[1:]}, elsewhere {row}")
            row = member.shape[1:]
        if dtype is not None:
            found.append(ColumnLayout(name, dtype, row))
    return found


def _joined(span: Span, name: str, known: "np.dtype[Any] | None", dtype: "np.dtype[Any]") -> "np.dtype[Any]":
    if known is None or known == dtype:
        return dtype
    if known.kind == dtype.kind and dtype.kind in "US":
        return max(known, dtype, key=lambda item: item.itemsize)
    raise span.archive.damaged(f"column {name!r} is {dtype}, elsewhere {known}")
