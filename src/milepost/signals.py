"""What a trainer may read of its own evaluation: the latest record, the best one, and whether going on is of use.

Plain files are read; there is no server, no lock and no waiting.  A store or run that is not there yet, or cannot be
read just now, is "nothing known yet" and never an error: `problem` says why.  A record counts once it covers all rows
of weights that were restored whole; a partial one never steers, nor does one of earlier code.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milepost._internal.text import counted
from milepost.checkpoints.folders import run_folder
from milepost.errors import MilepostError, StoreError, UsageError
from milepost.registry import load
from milepost.store.evaluations import partial_of
from milepost.store.listing import EvaluationFiles, Listing
from milepost.store.records import number, value_of
from milepost.store.run_names import fitting
from milepost.store.store import Store

_SHARE = 100
"""Looking takes at most this part of the time."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One evaluated checkpoint: its value over all `n` rows, and the interval (low, high) where the metric has one."""

    step: int
    value: float
    interval: tuple[float, float] | None
    n: int | None
    name: str
    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class StopVerdict:
    """Whether to stop, and why (or why not) in words."""

    stop: bool
    reason: str


class Signals:
    """What the store knows of one run by one metric.

    `run` is the run's id, its folder's name, that folder's path or the end of it, or a path of a folder of checkpoints
    in it; `data` names the data set where there are several.  The store
    is looked at when asked, at most once in `every` seconds and for at most a hundredth of the time; in between an
    answer costs microseconds, so that asking at every step is cheap.

    >>> signals = Signals("/no/such/store", "lenet", "top1")
    >>> signals.latest(), signals.best(), signals.should_stop(patience=3)
    (None, None, False)
    >>> signals.problem.partition(";")[0]
    '/no/such/store: expected a store, found no store.json in it'
    """

    def __init__(
        self, store: str | Path, run: str | Path, metric: str, data: str | None = None, *, every: float = 1.0
    ) -> None:
        """Name what to read; nothing is looked at yet."""
        self.problem = ""
        self._reader = _RunReader(str(store), str(run), metric, data)
        self._every = every
        self._next = float("-inf")
        self._known: tuple[Signal, ...] = ()

    def history(self, until: int | None = None) -> tuple[Signal, ...]:
        """Return every evaluated checkpoint in order of step; `until` leaves out later steps (of before a restart)."""
        self._look()
        return tuple(item for item in self._known if until is None or item.step <= until)

    def latest(self, until: int | None = None) -> Signal | None:
        """Return the evaluated checkpoint with the highest step, None while there is none."""
        found = self.history(until)
        return found[-1] if found else None

    def best(self, until: int | None = None) -> Signal | None:
        """Return the evaluated checkpoint with the best exact value, the earliest of equals; None while there is none.

        The metric says whether higher or lower is better.
        """
        found = self.history(until)
        return max(found, key=lambda item: self._reader.sign * item.value, default=None)

    def should_stop(self, patience: int, min_delta: float = 0.0, until: int | None = None) -> bool:
        """Return whether the newest `patience` evaluated checkpoints brought nothing; see `verdict`."""
        return self.verdict(patience, min_delta, until).stop

    def verdict(self, patience: int, min_delta: float = 0.0, until: int | None = None) -> StopVerdict:
        """Return whether to stop, and why.

        The rule: stop once none of the newest `patience` evaluated checkpoints, even at the better end of its interval,
        beats the best value before them by more than `min_delta` (in the metric's own unit).  So a checkpoint that may
        be an improvement never lets training end, noise does not, and checkpoints that were not evaluated yet, failed,
        or are covered or restored in part count for nothing.  The price: with `min_delta` below the half width of the
        intervals a plateau cannot be told from a small improvement, and training goes on; the reason says so.

        Raises UsageError unless `patience` is at least 1 and `min_delta` at least 0.
        """
        if patience < 1 or not 0.0 <= min_delta < float("inf"):
            raise UsageError(
                f"patience {patience}, min_delta {min_delta}: expected at least 1 checkpoint, and a number from 0"
            )
        found = self.history(until)
        if len(found) <= patience:
            known = counted(len(found), "evaluated checkpoint")
            return StopVerdict(stop=False, reason=f"{known}: more than {patience} are needed")
        before, newest = found[:-patience], found[-patience:]
        sign = self._reader.sign
        first = max(before, key=lambda item: sign * item.value)
        bar = sign * first.value + min_delta
        for item in reversed(newest):
            if sign * item.value > bar:
                return StopVerdict(stop=False, reason=f"step {item.step} improved on step {first.step}")
            if sign * _better_end(item, sign) > bar:
                end = f"step {item.step} may still be better than step {first.step}: its interval reaches"
                return StopVerdict(
                    stop=False,
                    reason=f"{end} {_better_end(item, sign):.6g}; only a larger min_delta, or more rows, can tell",
                )
        shown = f"by more than {min_delta:g}" if min_delta else "at all"
        return StopVerdict(
            stop=True,
            reason=f"none of the newest {patience} evaluated checkpoints can be better than step {first.step} "
            f"({first.value:.6g}) {shown}",
        )

    def _look(self) -> None:
        started = time.monotonic()
        if started < self._next:
            return
        try:
            self._known = self._reader.read()
            self.problem = self._reader.problem
        except MilepostError as error:
            self.problem = str(error)
        except Exception as error:  # noqa: BLE001 - whatever lies in a store, training must not end of it
            self.problem = f"the store cannot be read now: {error!r}"
        ended = time.monotonic()
        self._next = ended + max(self._every, _SHARE * (ended - started)) if self._every else ended


class StopWhen:
    """The rule as a callback for a plain loop.

    >>> stop = StopWhen(Signals("/no/such/store", "runs/exp7", "top1"), patience=5, min_delta=0.005)
    >>> for step in range(1000):
    ...     if stop(step):  # after the step's own work
    ...         break
    >>> step
    999
    """

    def __init__(self, signals: Signals, patience: int, min_delta: float = 0.0) -> None:
        """Take what `Signals.should_stop` takes; a UsageError comes here, before training."""
        self.reason = signals.verdict(patience, min_delta).reason
        self._signals = signals
        self._patience = patience
        self._min_delta = min_delta

    def __call__(self, step: int | None = None) -> bool:
        """Return whether to stop; checkpoints of steps beyond `step` are of before a restart.  `reason` says why."""
        verdict = self._signals.verdict(self._patience, self._min_delta, step)
        self.reason = verdict.reason
        return verdict.stop


def _better_end(item: Signal, sign: int) -> float:
    if item.interval is None:
        return item.value
    return item.interval[1] if sign > 0 else item.interval[0]


# -------------------------------------------------------------------------------------------------------------- reading


class _RunReader:
    """Reads what is new in a store, and chooses what counts of one run."""

    def __init__(self, store: str, run: str, metric: str, data: str | None) -> None:
        self.sign = 1
        self.problem = ""
        self._path, self._run, self._metric, self._data = store, run, metric, data
        self._store: Store | None = None
        self._listing: Listing | None = None
        self._id = ""

    def read(self) -> tuple[Signal, ...]:
        """Return what counts, in order of step."""
        self.problem = ""
        store = self._store = self._store or Store.open(self._path)
        if not self._id and not self._find_run(store):
            return ()
        self._listing = store.listing()
        if not self._listing.has_run(self._id):
            raise StoreError(f"{self._path}: the run {self._id} is not there any more; what was read before stands")
        seen = _seen(self._listing.checkpoint_files(self._id))
        specs, values, earlier = {}, {}, 0
        for key, evaluated in self._listing.evaluations.items():
            if evaluated.weights in seen and not partial_of(evaluated.spec):
                if self._listing.standing(evaluated.spec).earlier:
                    earlier += 1
                    continue
                value = self._value(evaluated)
                specs[key] = evaluated.spec
                if value is not None:
                    values[key] = value
        if earlier and not values:
            self.problem = f"{counted(earlier, 'evaluation')} of earlier code, none of the code of now"
        return self._chosen(seen, specs, values)

    def _find_run(self, store: Store) -> bool:
        found = fitting(store.runs(), self._run, run_folder(os.path.join(os.path.abspath(self._run), "checkpoint")))
        if len(found) == 1:
            self._id = found[0]
        elif found:
            self.problem = f"{self._run!r} names several runs; name one by its id or path: {', '.join(found)}"
        else:
            self.problem = f"no run {self._run!r} in {self._path} yet"
        return len(found) == 1

    def _value(self, evaluated: EvaluationFiles) -> dict[str, Any] | None:
        """Return the exact value over all rows, None where none is on record."""
        for file in evaluated.results.values():
            if file.header["status"] == "ok":
                for held in file.held(slices=False):
                    if (held.metric, held.estimator) == (self._metric, "exact"):
                        self.sign = self._sign(*file.direction(self._metric))
                        return value_of(file.line(held))
        return None

    def _sign(self, direction: str | None, name: str) -> int:
        direction = direction or load("metrics", name).direction
        if direction not in ("higher", "lower"):
            raise UsageError(f"{self._metric}: the metric does not say whether higher or lower is better")
        return 1 if direction == "higher" else -1

    def _chosen(
        self, seen: dict[str, dict[str, Any]], specs: dict[str, dict[str, Any]], values: dict[str, dict[str, Any]]
    ) -> tuple[Signal, ...]:
        """Return one signal for each digest: of one data set, as its newest evaluation has it, where it is defined."""
        names = sorted({str(specs[key]["data_name"]) for key in values})
        if self._data is None and len(names) > 1:
            self.problem = f"several data sets are on record: {', '.join(names)}; name one with data="
            return ()
        keys = [key for key in values if self._data in (None, specs[key]["data_name"])]
        keys.sort(key=lambda key: (str(specs[key].get("created") or ""), key))
        # Other data under the same name is no comparison.
        newest = {specs[key]["weights"]: key for key in keys if specs[key]["data"] == specs[keys[-1]]["data"]}
        found = []
        for digest, key in newest.items():
            value = number(values[key]["value"])
            if value is not None and value == value:  # noqa: PLR0124 - NaN
                found.append(_signal(seen[digest], value, values[key]))
        return tuple(sorted(found, key=lambda item: (item.step, item.digest)))


def _seen(checkpoints: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the checkpoint that names each digest: what its path still holds, with a step, of one variant."""
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for item in sorted(checkpoints, key=lambda item: (item["seen"], item["identity"][4], item["attempt"])):
        newest[item["path"], item["variant"]] = item
    held = [item for item in newest.values() if item["digest"] is not None and item["step"] is not None]
    variants = {item["variant"] for item in held}
    variant = "raw" if "raw" in variants else min(variants, default="")
    named = sorted((item for item in held if item["variant"] == variant), key=lambda item: (item["step"], item["name"]))
    return {item["digest"]: item for item in named}


def _signal(checkpoint: dict[str, Any], value: float, entry: dict[str, Any]) -> Signal:
    spans = entry.get("intervals") or ()
    low, high = (number(spans[0]["low"]), number(spans[0]["high"])) if spans else (None, None)
    return Signal(
        step=checkpoint["step"],
        value=value,
        interval=None if low is None or high is None else (low, high),
        n=entry.get("n"),
        name=checkpoint["name"],
        path=checkpoint["path"],
        digest=checkpoint["digest"],
    )
