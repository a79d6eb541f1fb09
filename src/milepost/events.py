"""What a run tells while it goes on: plain dictionaries, the same in `--json`, in tables and in tests."""

from milepost.core import Json
from milepost.store.records import OPTIONAL, by_slice
from milepost.store.sightings import Sighting


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
