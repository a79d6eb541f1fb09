"""Results: one immutable file for each act of scoring, with all its records and their tables.

The file is a NumPy archive.  Its first members are text, so that listing a store reads them without NumPy:

    header.json        what was evaluated, and which records follow, without their values
    values.jsonl       one line for each value over all rows, as `--json` prints it
    slices.jsonl       the same by slice
    <digest>/<name>    the tables of a metric, by the digest of its spec
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from milepost._internal.serialization import digest
from milepost.core.types import Array, Json
from milepost.errors import StoreError
from milepost.store._damage import OnDamage, raised
from milepost.store._leading import Leading
from milepost.store._storage import Storage
from milepost.store.records import ALL, RecordKey, by_slice, line_of, plain, record_key, value_of

FORMAT = 2
"""Version of a file of results."""

_PREFIX = "results."
_SHARED = ("coverage", "size", "data", "status")
"""What all records of a file have in common."""
_ABSENT = "null"
_LONG = 40
_ORDERED: list[tuple[list[tuple[int, str, int | None, str, list[str]]], list[int]]] = []
"""The latest order of lines, and the records that it is of."""
Made = tuple[dict[str, Json], Mapping[str, Array]]


@dataclass(frozen=True, slots=True)
class ValueKey:
    """One value that a file holds: what it is of, and its place among the lines."""

    slice: str
    metric: str
    estimator: str
    batch_size: int | None
    place: int


class ResultsFile:
    """The text of one file of results: its header at once, its values when they are asked for."""

    def __init__(self, path: str | Path) -> None:
        """Read the header; a `StoreError` says what is damaged, `FileNotFoundError` that there is no such file."""
        self.path = str(path)
        self._leading = Leading(self.path)
        self.header = self._leading.header()
        try:
            self.spec: dict[str, Json] | None = self.header["evaluation"]
            self.data = str(self.header["data"])
            self.covered = sum(stop - start for start, stop in self.header["coverage"])
            self.created = str((self.spec or {}).get("created") or "")
            self._metrics: list[dict[str, Json]] = self.header["metrics"]
            self._labels: dict[str, list[str]] = self.header["slices"]
            self._records: list[tuple[int, str, int | None, str, list[str]]] = self.header["records"]
        except (KeyError, TypeError, ValueError) as error:
            raise self._leading.damaged(f"{error!r} in its header") from None

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the values over all rows."""
        return self._leading.text("values.jsonl").split("\n")

    @cached_property
    def slice_lines(self) -> list[str]:
        """The lines of the values by slice."""
        return self._leading.text("slices.jsonl").split("\n")

    def line(self, held: ValueKey) -> str:
        """Return the line of a value."""
        return (self.lines if held.slice == ALL else self.slice_lines)[held.place]

    def held(self, *, slices: bool) -> Iterator[ValueKey]:
        """Yield the values over all rows or, with `slices`, those by slice."""
        place = 0
        for _, estimator, size, name, values in self._records:
            if (name != ALL) is slices:
                for label in self._labels[name] if slices else [ALL]:
                    for value in values:
                        if not slices or self.slice_lines[place] != _ABSENT:
                            yield ValueKey(label, value, estimator, size, place)
                        place += 1

    def ordered(self) -> Sequence[int]:
        """Return the places of the lines over all rows in the order in which they are listed."""
        latest = next(iter(_ORDERED), None)
        if latest is None or latest[0] != self._records:  # thousands of files have the same ones
            latest = self._records, [held.place for held in sorted(self.held(slices=False), key=place_of)]
            _ORDERED[:] = [latest]
        return latest[1]

    def labels(self) -> list[str]:
        """Return the slices, `name=value`, that there are values of."""
        return [label for labels in self._labels.values() for label in labels]

    def direction(self, metric: str) -> tuple[str | None, str]:
        """Return the direction of the metric that gives a value, None where it says none, and its registered name."""
        found = next(self._metrics[index] for index, _, _, _, values in self._records if metric in values)
        return found["direction"], found["spec"]["name"]

    @property
    def records(self) -> frozenset[RecordKey]:
        """What the records are of."""
        return _record_keys(json.dumps([self.header["coverage"], self._metrics, self._records]))

    def payloads(self) -> Iterator[dict[str, Json]]:
        """Yield the records, with nonfinite numbers as text (see `records.number`)."""
        shared = {key: self.header[key] for key in _SHARED}
        lines = {ALL: iter(self.lines), "": iter(self.slice_lines)}
        for index, estimator, size, name, values in self._records:
            metric = self._metrics[index]
            of = {"metric": metric["spec"], "direction": metric["direction"], "slice": name}
            head = {"schema": 1, **of, "estimator": estimator, "batch_size": size, **shared}
            if name == ALL:
                yield {**head, "values": [value_of(next(lines[ALL])) for _ in values]}
            else:
                slices = {label: [next(lines[""]) for _ in values] for label in self._labels[name]}
                present = {
                    label: [value_of(line) for line in held if line != _ABSENT] for label, held in slices.items()
                }
                yield {**head, "values": [], "slices": present}


def place_of(held: ValueKey) -> tuple[str, bool, int, str, str]:
    """Return what values are listed by: slice, exact ones first, batch size, metric."""
    return held.slice, held.estimator != "exact", held.batch_size or 0, held.metric, held.estimator


class EvaluationResults:
    """The files of results of one evaluation."""

    def __init__(
        self,
        storage: Storage,
        evaluation: str,
        spec: Callable[[], Mapping[str, Json] | None],
        on_damage: OnDamage = raised,
    ) -> None:
        """Use the folder of an evaluation; `spec` says what it is, for the files that are put."""
        self._storage, self._on_damage = storage, on_damage
        self._evaluation = evaluation
        self._spec = spec

    def publish(self, made: Iterable[Made]) -> int:
        """Put the records of one act of scoring, each with its tables; return how many were not there yet.

        They become one file, or one for each coverage and status that they have.
        """
        known, held, digests = self.keys(), list(made), dict[int, str]()
        acts: dict[str, dict[RecordKey, Made]] = {}
        for payload, tables in held:
            key = record_key(payload, digests)
            if key not in known:
                shared = str([payload[name] for name in _SHARED])
                acts.setdefault(shared, {}).setdefault(key, (payload, tables))
        for act in acts.values():
            self._put(act)
        return sum(len(act) for act in acts.values())

    def keys(self) -> set[RecordKey]:
        """Return what the records are of."""
        return set().union(*(file.records for file in self.files()))

    def read(self) -> list[dict[str, Json]]:
        """Return every record once, in an order that does not depend on the files."""
        found: dict[RecordKey, dict[str, Json]] = {}
        for file in self.files():
            try:
                for payload in file.payloads():
                    found.setdefault(record_key(payload), payload)
            except StoreError as error:
                self._on_damage(error)
        return [found[key] for key in sorted(found, key=lambda key: _order(found[key]["metric"]["name"], key))]

    def tables(self, payload: Mapping[str, Json]) -> dict[str, Array]:
        """Return a record's tables, arrays by name; none where it has none."""
        # Arrays only where they are asked for: reading records must not cost NumPy's import.
        from milepost.store import _archive  # noqa: PLC0415

        key = record_key(payload)
        for file in self.files():
            if key in file.records:
                archive = _archive.Archive(file.path)
                archive.verify()
                start = f"{key.metric}/"
                names = sorted(name for name in archive.members if name.startswith(start))
                if names and (key.estimator, key.slice) == ("exact", ALL):
                    return {name.removeprefix(start): archive.read(name) for name in names}
        return {}

    def files(self, names: Sequence[str] | None = None) -> Iterator[ResultsFile]:
        """Yield the files of results, each opened; `names` are those in the evaluation's folder, where known."""
        for name in self._storage.list(self._evaluation) if names is None else names:
            if is_results(name):
                try:
                    file = ResultsFile(self._storage.get(f"{self._evaluation}/{name}"))
                except FileNotFoundError:
                    continue
                except StoreError as error:
                    self._on_damage(error)
                    continue
                yield file

    def _put(self, act: Mapping[RecordKey, Made]) -> None:
        from milepost.store import _archive  # noqa: PLC0415 - as above

        payloads = {key: payload for key, (payload, _) in act.items()}
        header, lines, slice_lines = _text(payloads, self._spec())
        tables = {f"{key.metric}/{name}": array for key, (_, named) in act.items() for name, array in named.items()}
        texts = {"values.jsonl": "\n".join(lines), "slices.jsonl": "\n".join(slice_lines)}
        name = f"{self._evaluation}/{_PREFIX}{_name(act)}.npz"
        self._storage.put(name, lambda stream: _archive.write(stream, tables, header, texts))


@lru_cache(maxsize=64)
def _record_keys(text: str) -> frozenset[RecordKey]:
    """Return what the records of a header are of, from its JSON: thousands of files have the same one."""
    coverage, metrics, records = json.loads(text)
    rows = tuple((int(start), int(stop)) for start, stop in coverage)
    digests = [digest(metric["spec"]) for metric in metrics]
    return frozenset(
        RecordKey(digests[index], estimator, size, name, rows) for index, estimator, size, name, _ in records
    )


def is_results(name: str) -> bool:
    """Tell a file of results among those of an evaluation."""
    return name.startswith(_PREFIX)


def _text(
    payloads: Mapping[RecordKey, Mapping[str, Json]], spec: Mapping[str, Json] | None
) -> tuple[dict[str, Json], list[str], list[str]]:
    """Return header and lines of some records."""
    metrics: dict[str, dict[str, Json]] = {}
    places: dict[str, int] = {}
    labels: dict[str, list[str]] = {}
    records = []
    lines: list[str] = []
    slice_lines: list[str] = []
    for key, payload in payloads.items():
        if key.metric not in metrics:
            places[key.metric] = len(metrics)
            metrics[key.metric] = {"spec": plain(payload["metric"]), "direction": payload.get("direction")}
        if key.slice == ALL:
            names = [str(value["metric"]) for value in payload["values"]]
            lines += [line_of(payload, ALL, value) for value in payload["values"]]
        else:
            held = payload.get("slices", {})
            if labels.setdefault(key.slice, list(held)) != list(held):
                raise StoreError(f"slice {key.slice!r}: expected the values {labels[key.slice]}, found {list(held)}")
            names = list(dict.fromkeys(str(value["metric"]) for _, value in by_slice(payload)))
            for label, values in held.items():
                there = {value["metric"]: value for value in values}
                slice_lines += [line_of(payload, label, there[name]) if name in there else _ABSENT for name in names]
        records.append([places[key.metric], key.estimator, key.batch_size, key.slice, names])
    shared = {name: plain(next(iter(payloads.values()))[name]) for name in _SHARED}
    head = {"format": FORMAT, "evaluation": None if spec is None else dict(spec), **shared}
    return {**head, "metrics": list(metrics.values()), "slices": labels, "records": records}, lines, slice_lines


def _name(keys: Iterable[RecordKey]) -> str:
    """Return a name by what a file holds: whoever scores the same puts the same name."""
    keys = list(keys)
    rows = "+".join(f"{start}-{stop}" for start, stop in keys[0].coverage)
    if len(rows) > _LONG:
        rows = f"{len(keys[0].coverage)}-ranges"
    return f"{rows}.{digest(sorted(_order('', key) for key in keys))[:12]}"


def _order(name: str, key: RecordKey) -> tuple[str, str, str, int, str, str]:
    return name, key.metric, key.estimator, key.batch_size or 0, key.slice, str(key.coverage)
