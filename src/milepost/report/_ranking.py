"""Which checkpoints have a value that can be compared, in order of it, and which have none."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from milepost.errors import UsageError
from milepost.report._metrics_on_record import check_slice, direction_of, recorded
from milepost.report.addresses import Labels, run_id
from milepost.report.table import Plain
from milepost.store.code_standing import is_earlier
from milepost.store.listing import Listing
from milepost.store.records import number as as_number
from milepost.store.store import Store

_GROUPS = {
    "missing": "restored in part",
    "undefined": "undefined",
    "elsewhere": "evaluated on other data of this name than the newest evaluation was: `milepost run` evaluates again",
}
_RANKED = ("whole", "partial", "earlier")
"""What is ranked: the first of these groups that holds anything."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Records of one value, the best first in `ranked`; each has a `label`, the address by which verbs take it.

    Not compared: `missing` (restored in part: never the best), `partial` (fewer rows than the best, which has all),
    `undefined`, `elsewhere` (evaluated on other data of the same name), and `earlier`: of earlier code, unless all are.
    """

    metric: str
    direction: str
    data: str
    ranked: tuple[Plain, ...]
    partial: tuple[Plain, ...] = ()
    undefined: tuple[Plain, ...] = ()
    elsewhere: tuple[Plain, ...] = ()
    missing: tuple[Plain, ...] = ()
    earlier: tuple[Plain, ...] = ()


def ranking_of(
    store: Store,
    listing: Listing,
    metric: str,
    data: str | None,
    run: str | None,
    part: str,
    variant: str | None = None,
) -> Ranking:
    """Rank the weights of a store, each once; see `best_of`."""
    direction = direction_of(recorded(store, metric))
    check_slice(listing, part)
    held = listing.records_by_weights(run=run_id(store, run), variant=variant, metric=metric, slices=part)
    if len({record["slice"] for record in held}) > 1:
        raise UsageError(f"--slice {part} has several values; name one: {part}=VALUE")
    records = [record for record in held if record["estimator"] == "exact"]
    name = one_data(sorted({record["data"] for record in records}), data)
    records = [record for record in records if record["data"] == name]
    if not records:
        where = (f" in run {run}" if run else "") + (f" of variant {variant}" if variant else "")
        raise UsageError(f"no value {metric!r} is on record{where}")
    labels = Labels(listing.checkpoints())
    for record in records:
        record["label"] = labels.of_record(record)
    return rank(records, direction, _elsewhere(listing, name, records))


def one_data(names: Sequence[str], wanted: str | None) -> str:
    """Return the one data set that is meant; a UsageError lists several."""
    if wanted is not None and wanted not in names:
        raise UsageError(f"--data {wanted}: nothing is on record on it; there are: {', '.join(names) or 'none'}")
    if wanted is None and len(names) > 1:
        raise UsageError(f"several data sets are on record: {', '.join(names)}; name one with --data")
    return wanted or next(iter(names), "")


def rank(records: Iterable[Plain], direction: str, elsewhere: Callable[[Plain], bool] = lambda _: False) -> Ranking:
    """Rank records of one value; `elsewhere` says of a record whether it is about other data.

    Raises UsageError where none is defined.

    >>> checkpoint = {"path": "a.npz", "step": 9, "digest": "d1", "variant": "raw"}
    >>> record = {"checkpoint": checkpoint, "metric": "top1", "data": "test", "value": 0.5, "status": "ok"}
    >>> [item["value"] for item in rank([{**record, "value": 0.25}, record], "higher").ranked]
    [0.5, 0.25]
    """
    groups: dict[str, list[Plain]] = {"elsewhere": [], "missing": [], "undefined": [], **{name: [] for name in _RANKED}}
    for record in records:
        groups[_group(record, elsewhere)].append(record)
    candidates = groups.pop("whole") or groups.pop("partial") or groups.pop("earlier")
    if not candidates:
        counts = "; ".join(f"{len(held)} {words}" for key, words in _GROUPS.items() if (held := groups[key]))
        raise UsageError(f"no checkpoint has a value that can be compared ({counts or 'nothing is on record'})")
    sign = 1 if direction == "higher" else -1
    ranked = sorted(candidates, key=lambda record: -sign * value_of_record(record))
    others: dict[str, Any] = {group: tuple(held) for group, held in groups.items()}
    return Ranking(ranked[0]["metric"], direction, ranked[0]["data"], tuple(ranked), **others)


def value_of_record(record: Plain) -> float:
    """Return the value of a ranked record, which has one."""
    found = as_number(record["value"])
    assert found is not None  # noqa: S101 - undefined ones were set apart
    return found


def _group(record: Plain, elsewhere: Callable[[Plain], bool]) -> str:
    if elsewhere(record):
        return "elsewhere"
    if "PARTIAL" in str(record["status"]):
        return "missing"
    if record["value"] in (None, "nan"):
        return "undefined"
    if is_earlier(record["status"]):
        return "earlier"
    return "whole" if record["status"] == "ok" else "partial"


def _elsewhere(listing: Listing, data: str, records: Sequence[Plain]) -> Callable[[Plain], bool]:
    """Return the test for records about other data of the same name than the newest evaluation's.

    Of weights that were evaluated on several such data, the listing shows the largest coverage and then the newest; so
    a whole record is the newest one's if that is whole too, and counts as other where this is not so.
    """
    known = defaultdict[str, list[tuple[bool, str, str, str]]](list)
    for key, evaluated in listing.evaluations.items():
        spec = evaluated.spec
        if spec.get("data_name") == data:
            of_now = not listing.standing(spec).earlier
            known[spec["weights"]].append((of_now, str(spec.get("created") or ""), spec["data"], key))
    ours = (held for record in records for held in known[record["checkpoint"]["digest"]])
    newest = max(ours, default=(False, "", "", ""))[2]

    def other(record: Plain) -> bool:
        held = known[record["checkpoint"]["digest"]]
        if {digest for _, _, digest, _ in held} <= {newest}:
            return False
        _, _, digest, key = max(held)
        whole = any(file.header["status"] == "ok" for file in listing.evaluations[key].results.values())
        return digest != newest or record["status"] != "ok" or not whole

    return other
