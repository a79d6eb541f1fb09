"""What a run tells while it goes on: plain dictionaries, the same in `--json`, in tables and in tests."""

from typing import Any

from milepost.core import Json
from milepost.store.evaluation import partial_of
from milepost.store.records import OPTIONAL, by_slice
from milepost.store.sightings import Sighting

_SHOWN = 5


def record_events(sighting: Sighting, payload: dict[str, Json]) -> list[dict[str, Json]]:
    """Return a record's values as `--json` shows them, one a value."""
    shown = {key: getattr(sighting, key) for key in ("path", "step", "digest", "variant")}
    events = []
    for slice_name, entry in by_slice(payload):
        event = {
            "event": "record",
            "run": sighting.run,
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


def missing_note(sighting: Sighting) -> str | None:
    """Say which variables a partial restore left as the model was built; None where it was whole."""
    partial = partial_of(sighting.notes)
    if not partial:
        return None
    names = sighting.notes["missing"]["names"]
    listed = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{sighting.name}: {partial}; they keep the values that the model was built with: {listed}"


def constant_note(name: str, rows: int, data: str, payloads: list[dict[str, Any]]) -> str | None:
    """Say that all rows were predicted as one class, by the records made of them; None where they were not."""
    constant = payloads[0]["values"][0].get("constant") if payloads else None
    if constant is None:
        return None
    said = f"class {constant}" if constant >= 0 else "no class (every row is spoiled)"
    return (
        f"{name}: all {rows:,} rows of {data} are predicted as {said}: is it "
        "untrained, or do the inputs not reach the model as they did in training?"
    )
