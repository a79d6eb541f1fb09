"""What a run reports while it goes on: plain dictionaries, the same in `--json`, in tables and in tests."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from milepost.core.types import Json, Part
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.evaluations import partial_of
from milepost.store.records import OPTIONAL, by_slice

Listen = Callable[[dict[str, Json]], None]

_SHOWN = 5


class Reporter:
    """Reports to a listener, and keeps how each checkpoint ended: `outcomes` by path ("done", "skipped", "failed")."""

    def __init__(self, listen: Listen) -> None:
        self.listen = listen
        self.outcomes: dict[str, set[str]] = {}
        self._noted: set[str] = set()

    def note(self, message: str | None, *, once: bool = False) -> None:
        """Report a line, if there is one; `once`: unless it was reported before."""
        if message and not (once and message in self._noted):
            self._noted.add(message)
            self.listen({"event": "note", "message": message})

    def state(self, checkpoint: CheckpointRecord, state: str, reason: str | None = None) -> None:
        """Report in what state a checkpoint is."""
        if state in ("done", "skipped"):
            self.outcomes.setdefault(checkpoint.path, set()).add(state)
        shown = {key: getattr(checkpoint, key) for key in ("run", "path", "name", "step", "variant")}
        self.listen({"event": "checkpoint", **shown, "state": state, "reason": reason})

    def failed(self, checkpoint: CheckpointRecord, kind: str, message: str, attempts: int | None = None) -> None:
        """Report a failure: it is a row, and the run goes on."""
        self.outcomes.setdefault(checkpoint.path, set()).add("failed")
        run, path, step, attempts = checkpoint.run, checkpoint.path, checkpoint.step, attempts or checkpoint.attempt
        self.listen(failure_event(run, path, kind, message, step, attempts))


def failure_event(
    run: str, path: str, kind: str, message: str, step: int | None = None, attempts: int = 1
) -> dict[str, Json]:
    """Return the event of a failure.

    >>> failure_event("lenet", "runs/lenet/step-1.npz", "torn", "12 bytes missing")["class"]
    'torn'
    """
    shown = {"run": run, "path": path, "step": step, "class": kind, "message": message, "attempts": attempts}
    return {"event": "failure", **shown}


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
    names = checkpoint.notes["missing"]["names"]
    listed = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{checkpoint.name}: {partial}; they keep the values that the model was built with: {listed}"


def constant_note(name: str, rows: int, data: str, payloads: list[dict[str, Any]]) -> str | None:
    """Return a line where all rows were predicted as one class, by the records made of them; else None."""
    constant = payloads[0]["values"][0].get("constant") if payloads else None
    if constant is None:
        return None
    predicted = f"class {constant}" if constant >= 0 else "no class (every row is non-finite)"
    return (
        f"{name}: all {rows:,} rows of {data} are predicted as {predicted}: the model may be untrained, or its inputs "
        "may be prepared in another way than in training"
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
    limits = [f"at most {most} checkpoint{'s' if most > 1 else ''} at once"] if most else []
    limits += [f"{rows:,} rows a batch instead of {asked:,}"] if rows != asked else []
    return f"memory ran out: from here on {', '.join(limits)}"


def progress_event(
    data: str, names: Sequence[str], rows: int, size: int, seconds: float, part: Part
) -> dict[str, Json]:
    """Return how far a pass is: `rows` done of each checkpoint in `seconds`, up to where the part ends of `size`."""
    return {
        "event": "progress",
        "data": data,
        "names": list(names),
        "done": part.stop,
        "size": size,
        "examples_per_second": rows * len(names) / seconds if seconds else 0.0,
        "seconds": dict(part.environment.get("timings", {})),
    }
