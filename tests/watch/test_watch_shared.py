"""A checkpoint of which another watcher has one data set in hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests._material import checkpoints, evaluation_of, examples, linear
from tests.watch._watching import ROWS, counts, go, states

from milepost.core.types import Array, CheckpointFiles
from milepost.data.arrays import Arrays
from milepost.run.driver import Driver
from milepost.run.items import Item
from milepost.store.leases import Lease
from milepost.watch.scanner import Scanner


def test_a_data_set_that_another_watcher_has_is_waited_for_though_another_one_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = checkpoints(tmp_path / "run", 1)
    (run / "DONE").touch()
    others: list[Lease] = []
    turns = waits = 0
    lease, work, wait = Driver._lease, Driver.work, Scanner.wait

    def predict(weights: Mapping[str, Array], inputs: Array) -> Array:
        if bad in inputs[:, 0]:
            raise RuntimeError("not these rows")
        return linear(weights, inputs)

    def taken(driver: Driver, item: Item) -> Lease:
        if item.data == "good" and not others:
            others.append(driver.store.lease(item.key, f"{item.column_set}-{item.stop}", driver.store.worker()))
            assert others[0].acquire()
        return lease(driver, item)

    def counted(driver: Driver, chunk: Sequence[CheckpointFiles]) -> None:
        nonlocal turns
        turns += 1
        assert turns <= waits + 2, "the watch spins"
        work(driver, chunk)

    def waited(scanner: Scanner) -> None:
        nonlocal waits
        waits += 1
        if waits == 3:
            others[0].release()
        wait(scanner)

    monkeypatch.setattr(Driver, "_lease", taken)
    monkeypatch.setattr(Driver, "work", counted)
    monkeypatch.setattr(Scanner, "wait", waited)
    inputs, labels = examples(ROWS, seed=1)
    bad = inputs[0, 0]
    data = {"good": Arrays(*examples(ROWS)), "bad": Arrays(inputs, labels)}
    events = go(tmp_path, run, evaluation=evaluation_of(predict=predict, data=data))
    assert states(events, "step-1.npz") == ["seen", "complete", "claimed", "failed"]
    assert counts(events) == {"failed": 1}
    assert turns == 2
    assert {record["data"] for record in events.of("record")} == {"good"}
