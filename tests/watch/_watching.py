"""What the tests of a watch share: watching in this process, and reading what was reported and stored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests._material import Events, evaluation_of, request_of, weights_of

from milepost.store.store import Store
from milepost.watch.stop_conditions import StopConditions
from milepost.watch.watch import WatchOptions, watch

DONE = StopConditions(done=True)
FAST = WatchOptions(DONE, interval=0.05)
ROWS = 300


def go(folder: Path, *runs: Path, how: WatchOptions = FAST, **options: Any) -> Events:
    """Watch in this process, and return its events."""
    events = Events()
    chosen = options.pop("evaluation", evaluation_of(ROWS))
    watch(request_of(chosen, *runs, store=folder / "store", **options), how, events.append)
    return events


def states(events: Events, name: str) -> list[str]:
    """Return the states that a checkpoint went through."""
    return [item["state"] for item in events.of("checkpoint") if Path(item["path"]).name == name]


def counts(events: Events) -> dict[str, int]:
    """Return the numbers of the last line that are not zero."""
    assert events[-1]["event"] == "done"
    return {name: number for name, number in events[-1].items() if name != "event" and number}


def made(step: int, **more: Any) -> dict[str, Any]:
    return {**weights_of(step), **more}


def values(store: Path) -> dict[int, list[tuple[str, Any, int]]]:
    """Return the exact values that a store has by step."""
    found: dict[int, list[tuple[str, Any, int]]] = {}
    listing = Store.open(store).listing()
    for line in listing.lines():
        item = json.loads(line)
        if item["estimator"] == "exact" and item["checkpoint"]["step"] is not None:
            found.setdefault(item["checkpoint"]["step"], []).append((item["metric"], item["value"], item["n"]))
    return {step: sorted(each) for step, each in found.items()}


def deleting(run: Path, events: Events, *names: str) -> Callable[[dict[str, Any]], None]:
    """Return a listener that deletes checkpoints as soon as they are seen."""

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event.get("state") == "complete" and Path(event["path"]).name in names:
            (run / Path(event["path"]).name).unlink()

    return listen
