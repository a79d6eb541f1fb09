"""The best checkpoint by one value, and which others have an interval that meets its own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from milepost.errors import UsageError
from milepost.report._align import align
from milepost.report._metrics_on_record import check_slice, direction_of, recorded
from milepost.report._numbers import decimals, interval, number, share
from milepost.report.addresses import run_id
from milepost.report.table import Plain, as_number

_GROUPS = {"missing": "restored in part"}
_HEADS = ("place", "run", "step", "name", "digest", "value", "interval")
_RIGHT = (False, False, True, False, False, True, False)


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
        """Return a sentence, the table of the best and its rivals, and what was not compared."""
        return "\n".join(_lines(self))


def best_of(store: Any, metric: str, data: str | None = None, run: str | None = None, part: str = "all") -> Best:
    """Return the best checkpoint of a store by the exact value `metric`.

    `data` names the data set where there are several, `run` keeps to one run, `part` is a slice (`name=value`).  Raises
    UsageError where no such value is on record, where none is defined, and where there are several data sets or values
    of a slice to choose from.
    """
    direction = direction_of(recorded(store, metric))
    listing = store.listing()
    chosen = run_id(store, run) if run else None
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
    """Choose among records of one value; `elsewhere` tells which are about other data.

    Raises UsageError where none is defined.

    >>> checkpoint = {"path": "a.npz", "step": 9, "digest": "d1", "variant": "raw"}
    >>> record = {"checkpoint": checkpoint, "metric": "top1", "data": "test", "value": 0.5, "status": "ok"}
    >>> choose([record, {**record, "value": 0.25}], "higher").best["value"]
    0.5
    """
    groups: dict[str, list[Plain]] = {"elsewhere": [], "missing": [], "undefined": [], "partial": [], "whole": []}
    for record in records:
        groups[_group(record, elsewhere)].append(record)
    some = "whole" if groups["whole"] else "partial"
    candidates = groups.pop(some)
    if not candidates:
        listed = "; ".join(f"{len(held)} {_GROUPS.get(key, key)}" for key, held in sorted(groups.items()) if held)
        raise UsageError(f"no checkpoint has a value that can be compared ({listed or 'nothing is on record'})")
    sign = 1 if direction == "higher" else -1
    ordered = sorted(candidates, key=lambda record: -sign * _value(record))
    first, rest = ordered[0], ordered[1:]
    tied = [record for record in rest if record["value"] == first["value"]]
    meets = [record for record in rest[len(tied) :] if _meet(first, record)]
    below = [record for record in rest[len(tied) :] if not _meet(first, record)]
    return Best(
        metric=first["metric"],
        direction=direction,
        data=first["data"],
        best=first,
        tied=tuple(tied),
        meets=tuple(meets),
        below=tuple(below),
        partial=tuple(groups.get("partial", ())),
        undefined=tuple(groups["undefined"]),
        elsewhere=tuple(groups["elsewhere"]),
        missing=tuple(groups["missing"]),
    )


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


def _span(record: Plain) -> Plain:
    return next(iter(record.get("intervals") or ()), {})


def _meet(left: Plain, right: Plain) -> bool:
    a, b = _span(left), _span(right)
    return bool(a and b and a["low"] <= b["high"] and b["low"] <= a["high"])


def _elsewhere(store: Any, data: str, records: Sequence[Plain]) -> Callable[[Plain], bool]:
    """Tell records about other data of the same name than the newest evaluation's.

    Of weights that were evaluated on several such data, the listing shows the largest coverage and then the newest; so
    a whole record is the newest one's if that is whole too, and counts as other where this is not so.
    """
    known: dict[str, list[tuple[str, str, str]]] = {}
    for key in store.evaluations():
        spec = store.evaluation(key).spec() or {}
        if spec.get("data_name") == data:
            known.setdefault(spec["weights"], []).append((str(spec.get("created") or ""), spec["data"], key))
    ours = [known.get(record["checkpoint"]["digest"], []) for record in records]
    newest = max((held for many in ours for held in many), default=("", "", ""))[1]

    def other(record: Plain) -> bool:
        held = known.get(record["checkpoint"]["digest"], [])
        if {digest for _, digest, _ in held} <= {newest}:
            return False
        _, digest, key = max(held)
        return digest != newest or record["status"] != "ok" or not _is_whole(store, key)

    return other


def _is_whole(store: Any, key: str) -> bool:
    return any(payload["status"] == "ok" for payload in store.evaluation(key).results.read())


def _short(record: Plain) -> dict[str, Any]:
    shown = {key: record.get(key) for key in ("run", "checkpoint", "value", "n", "status")}
    return {**shown, "intervals": list(record.get("intervals") or ())}


def _lines(found: Best) -> list[str]:
    record = found.best
    places = max(decimals(record.get("n")), 4)
    fraction = share(record.get("numerator"), record.get("denominator"))
    value = number(_value(record), places) + (f" = {fraction}" if fraction else "")
    span = _span(record)
    about = f"{found.metric} ({found.direction} is better) on {_where(found)}, {record['status']}"
    told = [f"{about}: {value}" + (f" {_interval(record, places)} {_method(span)}" if span else "")]
    groups = (("best", [record]), ("tied", found.tied), ("meets", found.meets))
    told += align(_HEADS, [_cells(place, item, places) for place, held in groups for item in held], _RIGHT)
    return [*told, *_remarks(found)]


def _where(found: Best) -> str:
    return found.data if found.slice == "all" else f"{found.data}, slice {found.slice}"


def _remarks(found: Best) -> list[str]:
    told = [_below(len(found.below))] if found.below else []
    if not _span(found.best):
        told.append(f"{found.metric} has no interval yet; `milepost compare A B` tells two apart row by row")
    elif found.tied or found.meets:
        told.append(
            f"{len(found.tied)} tied, {len(found.meets)} whose interval meets the best's; that is not yet a paired "
            "test: `milepost compare A B` counts both on the same rows"
        )
    if found.best["status"] != "ok":
        told.append("every checkpoint is covered in part only: the values may be about different rows")
    told += [f"not compared, {word}: {_named(held)}" for word, held in _left_out(found) if held]
    if found.failed:
        told.append(f"{found.failed} failed, and have no value: `milepost failures` lists them")
    return told


def _below(others: int) -> str:
    return "1 other is below" if others == 1 else f"{others:,} others are below"


def _left_out(found: Best) -> Iterable[tuple[str, Sequence[Plain]]]:
    yield "restored in part", found.missing
    yield "covered in part", found.partial
    yield "undefined", found.undefined
    yield f"other data under the name {found.data}", found.elsewhere


def _named(records: Sequence[Plain]) -> str:
    return ", ".join(f"{_name(record)} ({record['status']})" for record in records)


def _cells(place: str, record: Plain, places: int) -> list[str]:
    checkpoint: Mapping[str, Any] = record["checkpoint"]
    step = "-" if checkpoint.get("step") is None else str(checkpoint["step"])
    texts = [place, str(record.get("run") or "-"), step, _name(record), str(checkpoint["digest"])[:12]]
    return [*texts, number(_value(record), places), _interval(record, places) or "-"]


def _interval(record: Plain, places: int) -> str:
    span = _span(record)
    return interval(as_number(span.get("low")), as_number(span.get("high")), places)


def _method(span: Plain) -> str:
    return f"({100 * span['level']:g} % {span['method']}, {span['kind']})" if "level" in span else ""


def _name(record: Plain) -> str:
    path = str(record["checkpoint"].get("path") or record["checkpoint"]["digest"][:12])
    variant = record["checkpoint"].get("variant")
    return path.rstrip("/").rpartition("/")[2] + (f" [{variant}]" if variant not in (None, "raw") else "")
