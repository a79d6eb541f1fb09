"""What a run tells while it goes on: plain dictionaries, the same in `--json`, in tables and in tests."""

from collections.abc import Mapping, Sequence
from typing import Any

from milepost.core.types import Json, Part
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.evaluations import partial_of
from milepost.store.records import OPTIONAL, by_slice

_SHOWN = 5


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
    """Say which variables a partial restore left as the model was built; None where it was whole."""
    partial = partial_of(checkpoint.notes)
    if not partial:
        return None
    names = checkpoint.notes["missing"]["names"]
    listed = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{checkpoint.name}: {partial}; they keep the values that the model was built with: {listed}"


def constant_note(name: str, rows: int, data: str, payloads: list[dict[str, Any]]) -> str | None:
    """Say that all rows were predicted as one class, by the records made of them; None where they were not."""
    constant = payloads[0]["values"][0].get("constant") if payloads else None
    if constant is None:
        return None
    said = f"class {constant}" if constant >= 0 else "no class (every row is non-finite)"
    return (
        f"{name}: all {rows:,} rows of {data} are predicted as {said}: is it "
        "untrained, or do the inputs not reach the model as they did in training?"
    )


def memory_note(environment: Mapping[str, Json]) -> str | None:
    """Say with what a part was made where memory held less than was asked for; None where it held all.

    >>> memory_note({"memory": {"per_pass": 2, "batch_size": 64, "asked": 256}})
    'memory ran out: from here on at most 2 checkpoints at once, 64 rows a batch instead of 256'
    """
    memory = environment.get("memory")
    if not memory:
        return None
    most, rows, asked = memory["per_pass"], memory["batch_size"], memory["asked"]
    said = [f"at most {most} checkpoint{'s' if most > 1 else ''} at once"] if most else []
    said += [f"{rows:,} rows a batch instead of {asked:,}"] if rows != asked else []
    return f"memory ran out: from here on {', '.join(said)}"


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
