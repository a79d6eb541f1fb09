"""A watch tries again what may pass, after longer and longer waits, and lets it be after some attempts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests._material import Events, checkpoints, evaluation_of, linear, request_of, weights_of

from milepost.core.types import Array
from milepost.watch import scheduler
from milepost.watch.stop_conditions import StopConditions
from milepost.watch.watch import WatchOptions, watch


class Unlucky:
    """A model that has no memory for one checkpoint the first few times; every failure is one attempt's last size."""

    def __init__(self, step: int, times: int) -> None:
        self.of, self.times = float(weights_of(step)["b"][0]), times

    def __call__(self, weights: Mapping[str, Array], inputs: Array) -> Array:
        if float(weights["b"][0]) == self.of and self.times > 0:
            self.times -= len(inputs) == 1
            raise MemoryError
        return linear(weights, inputs)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "FIRST_SECONDS", 0.01)


def watched(tmp_path: Path, times: int, end: str) -> Events:
    """Watch three checkpoints until the second comes to an end."""
    folder = checkpoints(tmp_path / "run", 1, 2, 3)
    events = Events()

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        assert event.get("attempts", 0) <= scheduler.ATTEMPTS
        if event["event"] == "checkpoint" and (event["name"], event["state"]) == ("step-2", end):
            (folder / "DONE").touch()

    evaluation = evaluation_of(rows=64, predict=Unlucky(2, times))
    watch(
        request_of(evaluation, folder, store=tmp_path / "store"),
        WatchOptions(StopConditions(done=True), interval=0.05),
        listen,
    )
    return events


def states(events: Events) -> list[str]:
    return [item["state"] for item in events.of("checkpoint") if item["name"] == "step-2"]


def test_what_passes_is_evaluated_in_the_end(tmp_path: Path) -> None:
    events = watched(tmp_path, 3, "done")  # with others, then alone; and once more alone
    assert states(events)[-6:] == ["claimed", "complete"] * 2 + ["claimed", "done"]
    assert [item["attempts"] for item in events.of("failure")] == [1, 2]
    assert events.done == (3, 0, 0)


def test_what_does_not_pass_is_let_be(tmp_path: Path) -> None:
    events = watched(tmp_path, 1000, "failed")
    assert states(events).count("claimed") == scheduler.ATTEMPTS
    assert states(events)[-1] == "failed"
    assert [item["attempts"] for item in events.of("failure")] == [1, 2, 3, 4]
    waits = [item["reason"] for item in events.of("checkpoint") if item["state"] == "complete" and item["reason"]]
    assert waits == [f"out of memory: tried again in {seconds} s" for seconds in (0.01, 0.02, 0.04)]
    assert events.done == (2, 0, 1)
