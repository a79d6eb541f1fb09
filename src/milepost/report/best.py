"""The best checkpoint by one value, and which others have an interval that meets its own."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from milepost.errors import UsageError
from milepost.report._align import align, shown
from milepost.report._metrics_on_record import check_slice, direction_of, recorded
from milepost.report._numbers import decimals, interval, meet, method, number, span_of, value_of
from milepost.report.addresses import run_id
from milepost.report.table import Plain, base_name
from milepost.store.records import number as as_number
from milepost.store.store import Store

_GROUPS = {"missing": "restored in part"}
_HEADS = ("place", "run", "step", "name", "digest", "value", "interval")


@dataclass(frozen=True, slots=True)
class Best:
    """One checkpoint and its rivals, all as records; prints as lines.

    `tied` have the very value of the best; `meets` another one, with an interval that meets the best's; `below` are the
    others.  Not compared: `missing` (restored in part: never the best), `partial` (fewer rows than the best, which has
    all), `undefined`, and `elsewhere` (evaluated on other data of the same name); `failed` counts the checkpoints that
    have no value because they failed.
    """

    metric: str
    direction: str
    data: str
    best: Plain
    tied: tuple[Plain, ...] = ()
    meets: tuple[Plain, ...] = ()
    below: tuple[Plain, ...] = ()
    partial: tuple[Plain, ...] = ()
    undefined: tuple[Plain, ...] = ()
    elsewhere: tuple[Plain, ...] = ()
    missing: tuple[Plain, ...] = ()
    failed: int = 0
    slice: str = "all"

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints: the best's record, and the others by checkpoint, value and interval."""
        groups = ("tied", "meets", "partial", "undefined", "elsewhere", "missing")
        return {
            "event": "best",
            "metric": self.metric,
            "direction": self.direction,
            "data": self.data,
            "slice": self.slice,
            "best": {key: item for key, item in self.best.items() if key not in ("event", "metric", "data")},
            **{group: [_short(record) for record in getattr(self, group)] for group in groups},
            "compared": 1 + len(self.tied) + len(self.meets) + len(self.below),
            "failed": self.failed,
            "paired_test": False,
        }

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def best_of(store: Store, metric: str, data: str | None = None, run: str | None = None, part: str = "all") -> Best:
    """Return the best checkpoint of a store by the exact value `metric`.

    `data` names the data set where there are several, `run` keeps to one run, `part` is a slice (`name=value`).  Raises
    UsageError where no such value is on record, where none is defined, and where there are several data sets or values
    of a slice to choose from.
    """
    direction = direction_of(recorded(store, metric))
    listing, chosen = store.listing(), run_id(store, run)
    check_slice(listing, part)
    held = listing.records(run=chosen, metric=metric, slices=part)
    if len({record["slice"] for record in held}) > 1:
        raise UsageError(f"--slice {part} has several values; name one: {part}=VALUE")
    records = [record for record in held if record["estimator"] == "exact"]
    name = one_data(sorted({record["data"] for record in records}), data)
    records = [record for record in records if record["data"] == name]
    if not records:
        raise UsageError(f"no value {metric!r} is on record" + (f" in run {run}" if run else ""))
    failed = sum(row["state"] == "failed" for row in listing.checkpoints(chosen))
    return replace(choose(records, direction, _elsewhere(store, name, records)), failed=failed, slice=part)


def one_data(names: Sequence[str], wanted: str | None) -> str:
    """Return the one data set that is meant; a UsageError lists several."""
    if wanted is not None and wanted not in names:
        raise UsageError(f"--data {wanted}: nothing is on record on it; there are: {', '.join(names) or 'none'}")
    if wanted is None and len(names) > 1:
        raise UsageError(f"several data sets are on record: {', '.join(names)}; name one with --data")
    return wanted or next(iter(names), "")


def choose(records: Iterable[Plain], direction: str, elsewhere: Callable[[Plain], bool] = lambda _: False) -> Best:
    """Choose among records of one value; `elsewhere` says of a record whether it is about other data.

    Raises UsageError where none is defined.

    >>> checkpoint = {"path": "a.npz", "step": 9, "digest": "d1", "variant": "raw"}
    >>> record = {"checkpoint": checkpoint, "metric": "top1", "data": "test", "value": 0.5, "status": "ok"}
    >>> choose([record, {**record, "value": 0.25}], "higher").best["value"]
    0.5
    """
    groups: dict[str, list[Plain]] = {"elsewhere": [], "missing": [], "undefined": [], "partial": [], "whole": []}
    for record in records:
        groups[_group(record, elsewhere)].append(record)
    whole = groups.pop("whole")
    candidates = whole or groups.pop("partial")
    if not candidates:
        counts = "; ".join(f"{len(held)} {_GROUPS.get(key, key)}" for key, held in sorted(groups.items()) if held)
        raise UsageError(f"no checkpoint has a value that can be compared ({counts or 'nothing is on record'})")
    sign = 1 if direction == "higher" else -1
    best, *rest = sorted(candidates, key=lambda record: -sign * _value(record))
    for record in rest:
        tied = record["value"] == best["value"]
        near = meet(span_of(best), span_of(record))
        groups.setdefault("tied" if tied else "meets" if near else "below", []).append(record)
    others: dict[str, Any] = {group: tuple(held) for group, held in groups.items()}
    return Best(metric=best["metric"], direction=direction, data=best["data"], best=best, **others)


def _group(record: Plain, elsewhere: Callable[[Plain], bool]) -> str:
    if elsewhere(record):
        return "elsewhere"
    if str(record["status"]).startswith("PARTIAL"):
        return "missing"
    if record["value"] in (None, "nan"):
        return "undefined"
    return "whole" if record["status"] == "ok" else "partial"


def _value(record: Plain) -> float:
    found = as_number(record["value"])
    assert found is not None  # noqa: S101 - undefined ones were set apart
    return found


def _elsewhere(store: Store, data: str, records: Sequence[Plain]) -> Callable[[Plain], bool]:
    """Return the test for records about other data of the same name than the newest evaluation's.

    Of weights that were evaluated on several such data, the listing shows the largest coverage and then the newest; so
    a whole record is the newest one's if that is whole too, and counts as other where this is not so.
    """
    known = defaultdict[str, list[tuple[str, str, str]]](list)
    for key in store.evaluations():
        spec = store.evaluation(key).spec() or {}
        if spec.get("data_name") == data:
            known[spec["weights"]].append((str(spec.get("created") or ""), spec["data"], key))
    ours = (held for record in records for held in known[record["checkpoint"]["digest"]])
    newest = max(ours, default=("", "", ""))[1]

    def other(record: Plain) -> bool:
        held = known[record["checkpoint"]["digest"]]
        if {digest for _, digest, _ in held} <= {newest}:
            return False
        _, digest, key = max(held)
        whole = any(payload["status"] == "ok" for payload in store.evaluation(key).results.read())
        return digest != newest or record["status"] != "ok" or not whole

    return other


def _short(record: Plain) -> dict[str, Any]:
    kept = {key: record.get(key) for key in ("run", "checkpoint", "value", "n", "status")}
    return {**kept, "intervals": list(record.get("intervals") or ())}


def _lines(found: Best) -> list[str]:
    record, span = found.best, next(iter(found.best.get("intervals") or ()), None)
    places = max(decimals(record.get("n")), 4)
    where = found.data if found.slice == "all" else f"{found.data}, slice {found.slice}"
    about = f"{found.metric} ({found.direction} is better) on {where}, {record['status']}: {value_of(record, places)}"
    if span:
        about += f" {interval(*span_of(record), places)}" + (f" ({method(span)})" if "level" in span else "")
    groups = (("best", [record]), ("tied", found.tied), ("meets", found.meets))
    rows = [_cells(place, item, places) for place, held in groups for item in held]
    return [about, *align(_HEADS, rows), *_remarks(found)]


def _remarks(found: Best) -> Iterator[str]:
    if found.below:
        yield "1 other is below" if len(found.below) == 1 else f"{len(found.below):,} others are below"
    if not found.best.get("intervals"):
        yield f"{found.metric} has no interval yet; `milepost compare A B` compares two row by row"
    elif found.tied or found.meets:
        yield (
            f"{len(found.tied)} tied, {len(found.meets)} whose interval meets the best's; that is not yet a paired "
            "test: `milepost compare A B` counts both on the same rows"
        )
    if found.best["status"] != "ok":
        yield "every checkpoint is covered in part only: the values may be about different rows"
    left_out = {
        "restored in part": found.missing,
        "covered in part": found.partial,
        "undefined": found.undefined,
        f"other data under the name {found.data}": found.elsewhere,
    }
    for word, held in left_out.items():
        if held:
            names = (f"{_name(record['checkpoint'])} ({record['status']})" for record in held)
            yield f"not compared, {word}: {', '.join(names)}"
    if found.failed:
        yield f"{found.failed} failed, and have no value: `milepost failures` lists them"


def _cells(place: str, record: Plain, places: int) -> list[str]:
    checkpoint: Plain = record["checkpoint"]
    run, step = shown(record.get("run")), shown(checkpoint.get("step"))
    named = [place, run, step, _name(checkpoint), str(checkpoint["digest"])[:12]]
    return [*named, number(_value(record), places), interval(*span_of(record), places) or "-"]


def _name(checkpoint: Plain) -> str:
    variant = checkpoint.get("variant") or "raw"
    name = base_name(str(checkpoint.get("path") or checkpoint["digest"][:12]))
    return name if variant == "raw" else f"{name} [{variant}]"
