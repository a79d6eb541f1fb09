"""One checkpoint's kept outcomes, chosen for a figure, and how the figure calls it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from milepost.core.escaping import printable
from milepost.core.protocols import Metric
from milepost.errors import UsageError
from milepost.report._metrics_on_record import evaluations_of
from milepost.report._numbers import count
from milepost.report._ranking import one_data
from milepost.report._slice import on_slice
from milepost.report.addresses import Labels, find_evaluated
from milepost.report.best import best_of
from milepost.report.figures._request import FigureRequest
from milepost.report.table import newest
from milepost.scoring.columns import Scored, holding, lacking
from milepost.store.code_standing import is_earlier
from milepost.store.store import Store


@dataclass(frozen=True, slots=True)
class Kept:
    """The outcomes of one checkpoint on the rows of a slice: `label` names it, `classes` are the classes' names."""

    scored: Scored
    label: str
    part: str
    classes: Mapping[int, str]

    @property
    def place(self) -> str:
        """What was evaluated, and on what: the end of a title."""
        part = "" if self.part == "all" else f", {self.part}"
        return printable(f"{self.label} on {self.scored.name}{part}")

    @property
    def rows(self) -> str:
        """How many rows are behind the figure."""
        whole = "" if self.scored.stop == self.scored.size else f" of {count(self.scored.size)} (partial)"
        return f"n = {count(self.scored.n)}{whole}"

    def called(self, number: int) -> str:
        """Return a class's name, or its number where it has none."""
        return printable(self.classes.get(number, str(number)))


def kept(store: Store, asked: FigureRequest, metric: Metric) -> Kept:
    """Return the outcomes of the checkpoint that was asked for, else of the best, else of the newest.

    Of several evaluations that of the code of now with the most rows, then the newest.  Raises UsageError where what
    the metric reads is not kept.
    """
    checkpoints = store.listing().checkpoints()
    row = _row(store, asked, checkpoints)
    standing = store.codes.standing()
    ours = evaluations_of(store, row["digest"])
    name = one_data(sorted({str(spec["data_name"]) for spec in ours.values()}), asked.data)
    of_name = {key: spec for key, spec in ours.items() if spec["data_name"] == name}
    opened = [
        (not standing.of(spec).earlier, side.stop, str(spec.get("created") or ""), key, side)
        for key, spec in of_name.items()
        if (side := holding(store, key, metric)) is not None
    ]
    if not opened:
        raise UsageError(
            next((lacking(store, key, metric, name) for key in of_name), f"no outcomes on {name} are kept")
        )
    side = max(opened, key=lambda one: one[:4])[4]
    return Kept(on_slice(store, side, asked.part), Labels(checkpoints).of(row), asked.part, class_names(side))


def class_names(scored: Scored) -> dict[int, str]:
    """Return the names of the classes that the data has, by number."""
    described: Any = scored.about.get("described") or {}
    held = described.get("classes") or {}
    pairs = held.items() if isinstance(held, Mapping) else enumerate(held)
    return {int(label): str(called) for label, called in pairs}


def _row(store: Store, asked: FigureRequest, checkpoints: list[dict[str, Any]]) -> dict[str, Any]:
    if asked.addresses:
        return dict(find_evaluated(checkpoints, asked.addresses[0], "draw", asked.variant))
    records = store.listing().records(slices="all")
    of_now = [record for record in records if record["estimator"] == "exact" and not is_earlier(record["status"])]
    for metric in dict.fromkeys(["top1", *(record["metric"] for record in of_now)]):
        with suppress(UsageError):
            found = best_of(store, metric, asked.data, asked.run, "all", asked.variant).best["checkpoint"]["digest"]
            return next(dict(row) for row in checkpoints if row["digest"] == found)
    evaluated = [row for row in checkpoints if row["digest"]]
    if not evaluated:
        raise UsageError("no checkpoint of this store has outcomes to draw; `milepost ls` says what there is")
    return dict(newest(evaluated, 1)[0])
