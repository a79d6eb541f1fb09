"""What a run reports while it goes on: plain dictionaries, the same in `--json`, in tables and in tests."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from milepost._internal.text import counted, listed, numbered
from milepost.core.types import Json
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.evaluations import partial_of
from milepost.store.records import OPTIONAL, by_slice

Listen = Callable[[dict[str, Json]], None]


class Reporter:
    """Reports to a listener, and keeps how each checkpoint ended: `outcomes` by path ("done", "skipped", "failed").

    `checked`: the names of those of which a code check predicted rows.
    """

    def __init__(self, listen: Listen) -> None:
        self.listen = listen
        self.outcomes: dict[str, set[str]] = {}
        self.checked: set[str] = set()
        self._noted: set[str] = set()
        self._warned: dict[tuple[str, str], int] = {}

    def note(self, message: str | None, *, once: bool = False) -> None:
        """Report a line, if there is one; `once`: unless it was reported before."""
        if message and not (once and message in self._noted):
            self._noted.add(message)
            self.listen({"event": "note", "message": message})

    def warn(self, name: str, data: str, payloads: Iterable[Mapping[str, Json]]) -> None:
        """Report the warnings of a checkpoint's records: each kind once a data set, others are counted (`repeated`)."""
        for kind, text in warnings_in(payloads).items():
            times = self._warned[data, kind] = self._warned.get((data, kind), 0) + 1
            if times == 1:
                self.note(f"{name} on {data}: {text}")

    def repeated(self) -> None:
        """Report of how many checkpoints a warning holds that was reported of one."""
        for (data, kind), times in self._warned.items():
            if times > 1:
                held = counted(times, "checkpoint")
                self.note(f"{held} on {data} have the warning {kind!r}; `milepost show` says what holds of each")
        self._warned.clear()

    def state(self, checkpoint: CheckpointRecord, state: str, reason: str | None = None) -> None:
        """Report in what state a checkpoint is."""
        if state in ("done", "skipped"):
            self.outcomes.setdefault(checkpoint.path, set()).add(state)
        shown = {key: getattr(checkpoint, key) for key in ("run", "path", "name", "step", "variant")}
        self.listen({"event": "checkpoint", **shown, "state": state, "reason": reason})

    def failed(self, checkpoint: CheckpointRecord, kind: str, message: str, attempts: int | None = None) -> None:
        """Report a failure: it is a row, and the run goes on."""
        self.outcomes.setdefault(checkpoint.path, set()).add("failed")
        shown = {key: getattr(checkpoint, key) for key in ("run", "path", "step", "variant")}
        self.listen(
            {"event": "failure", **shown, "class": kind, "message": message, "attempts": attempts or checkpoint.attempt}
        )


def record_events(checkpoint: CheckpointRecord, payload: dict[str, Json]) -> list[dict[str, Json]]:
    """Return a record's values as `--json` shows them, one a value."""
    shown = {key: getattr(checkpoint, key) for key in ("path", "step", "digest", "variant")}
    events = []
    for slice_name, entry in by_slice(payload):
        event = {
            "event": "record",
            "run": checkpoint.run,
            "checkpoint": shown,
            "data": payload["data"],
            "slice": slice_name,
            "estimator": payload["estimator"],
            **{key: item for key, item in entry.items() if item is not None or key not in OPTIONAL},
            "status": payload["status"],
        }
        if payload["batch_size"] is not None:
            event["batch_size"] = payload["batch_size"]
        events.append(event)
    return events


def missing_note(checkpoint: CheckpointRecord) -> str | None:
    """Return which variables a partial restore left as the model was built; None where it was whole."""
    partial = partial_of(checkpoint.notes)
    if not partial:
        return None
    names = listed(checkpoint.notes["missing"]["names"])
    return f"{checkpoint.label}: {partial}; they keep the values that the model was built with: {names}"


def averages_note(checkpoint: CheckpointRecord, variants: Sequence[str]) -> str | None:
    """Return that a checkpoint also holds averages that the evaluation leaves out; None where there are none."""
    held = str(checkpoint.notes.get("also holds") or "")
    if "ema" in variants or "ema at " not in held:
        return None
    both = ", ".join(f'"{name}"' for name in (*variants, "ema"))
    return (
        f"averaged weights in the files are not evaluated ({held}): Evaluation(variants=({both})) gives them rows of "
        "their own"
    )


def warnings_in(payloads: Iterable[Mapping[str, Json]]) -> dict[str, str]:
    """Return the warnings of some records' values by kind, the first of each.

    >>> warnings_in([{"values": [{"value": 1.0}, {"value": 0.1, "warnings": {"tied": "967 of 1,000 rows"}}]}])
    {'tied': '967 of 1,000 rows'}
    """
    values = [value for payload in payloads for value in payload["values"]]
    return {kind: text for value in reversed(values) for kind, text in (value.get("warnings") or {}).items()}


def batch_size_note(data: str, environment: Mapping[str, Json]) -> str | None:
    """Return that a loader's own batch size is not used; None where it is, or there is none.

    >>> batch_size_note("test", {"batch_size": 256, "loader_batch_size": 64})
    'test: batches of 256 rows by Evaluation(batch_size=256), where the loader has 64: batch means are of 256 rows too'
    """
    own = environment.get("loader_batch_size")
    if own is None:
        return None
    size = (environment.get("memory") or {}).get("asked", environment["batch_size"])
    return (
        f"{data}: batches of {size:,} rows by Evaluation(batch_size={size}), where the loader has {own:,}: batch means "
        f"are of {size:,} rows too"
    )


def left_out_note(data: str, described: Mapping[str, Json]) -> str | None:
    """Return how many rows of some data are left out for their label; None where none is.

    >>> left_out_note("test", {"left_out": {"label None": 2, "label -100 (ignore_index)": 1}})
    'test: 3 rows are left out: 2 with label None, 1 with label -100 (ignore_index)'
    """
    left_out = described.get("left_out") or {}
    if not left_out:
        return None
    rows = sum(left_out.values())
    whose = ", ".join(f"{count:,} with {name}" for name, count in left_out.items())
    return f"{data}: {counted(rows, 'row')} {'is' if rows == 1 else 'are'} left out: {whose}"


def numbering_note(data: str, described: Mapping[str, Json]) -> str | None:
    """Return which numbers the classes of some data have, where only the order of their names gives these.

    >>> numbering_note("test", {"numbered": "names", "classes": {"0": "cat", "1": "dog"}})[:78]
    'test: the classes (2) are numbered in the order of their names: 0 cat, 1 dog; '
    """
    if described.get("numbered") != "names":
        return None
    names = {int(label): str(name) for label, name in described["classes"].items()}
    return (
        f"{data}: the classes ({len(names):,}) are numbered in the order of their names: {numbered(names)}; if the "
        "model's outputs stand in another order, give classes=[...]"
    )


def memory_note(environment: Mapping[str, Json]) -> str | None:
    """Return what a part was made with where memory held less than was asked for; None where it held all.

    >>> memory_note({"memory": {"per_pass": 2, "batch_size": 64, "asked": 256}})
    'memory ran out: from here on at most 2 checkpoints at once, 64 rows a batch instead of 256'
    """
    memory = environment.get("memory")
    if not memory:
        return None
    most, rows, asked = memory["per_pass"], memory["batch_size"], memory["asked"]
    limits = [f"at most {counted(most, 'checkpoint')} at once"] if most else []
    limits += [f"{rows:,} rows a batch instead of {asked:,}"] if rows != asked else []
    return f"memory ran out: from here on {', '.join(limits)}"
