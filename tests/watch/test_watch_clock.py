"""Clocks that jump, and files that are stamped with other clocks' times: nothing is lost, doubled or called torn."""

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import Counted, Events, checkpoints, contents, evaluation_of, go, request_of
from tests.watch._watching import FAST, ROWS, counts, made, values

from milepost.watch.scanner import Scanner
from milepost.watch.watch import watch

HOUR = 3600
_time, _time_ns = time.time, time.time_ns


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what sets by how many seconds this process's wall clock is off that of the file system."""
    off = [0.0]
    monkeypatch.setattr(time, "time", lambda: _time() + off[0])
    monkeypatch.setattr(time, "time_ns", lambda: _time_ns() + int(off[0] * 1e9))
    return lambda seconds: off.__setitem__(0, seconds)


def test_a_clock_that_jumps_back_and_forth_by_an_hour(tmp_path: Path, jump: Callable[[float], None]) -> None:
    run, calm, events, predict = checkpoints(tmp_path / "run", 1, 2, 3, 4), tmp_path / "calm", Events(), Counted()
    go(evaluation_of(ROWS), run, store=calm)
    jumps = [HOUR, -HOUR, 0, -HOUR, HOUR]

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        jump(jumps[len(events) % len(jumps)])
        if len(events.of("checkpoint")) == 8:
            checkpoints(run, 5, 6)
            (run / "DONE").touch()

    watch(request_of(evaluation_of(ROWS, predict), run, store=tmp_path / "store", per_pass=1), FAST, listen)
    assert counts(events) == {"evaluated": 6}
    assert not events.of("failure")
    have = values(tmp_path / "store")
    assert {step: have[step] for step in values(calm)} == values(calm)
    calls = predict.calls
    for seconds in (HOUR, -HOUR):
        jump(seconds)
        again = go(evaluation_of(ROWS, predict), run, store=tmp_path / "store")
        assert again.done == (0, 6, 0)
    assert predict.calls == calls


@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_a_file_that_is_being_written_is_waited_for_whatever_its_clock_says(
    off: float, tmp_path: Path, jump: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, events, whole = tmp_path / "run", Events(), io.BytesIO()
    run.mkdir()
    np.savez(whole, **made(1))
    data, path, scan = whole.getvalue(), run / "step-1.npz", Scanner.scan
    path.write_bytes(data[:100])
    ends = [200, 300, 400, len(data)]

    def grows(self: Scanner, *, full: bool = False) -> None:
        if ends:
            with path.open("ab") as file:
                reported = events.of("checkpoint") or file.tell() > 180  # noqa: PLR2004 - then the steps are larger
                file.write(data[file.tell() : ends.pop(0) if reported else file.tell() + 1])
            if not ends:
                (run / "DONE").touch()
        scan(self, full=full)

    monkeypatch.setattr(Scanner, "scan", grows)
    jump(off)
    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), FAST, events.append)
    assert not events.of("failure")
    assert counts(events) == {"evaluated": 1}


def test_checkpoints_and_records_from_the_future_and_the_past(folder: Path, store: Path) -> None:
    predict = Counted()
    assert go(evaluation_of(predict=predict), folder, store=store).done == (3, 0, 0)
    calls, before, now = predict.calls, contents(store), _time()
    for when in (now + 10 * 365 * 24 * HOUR, now - HOUR, 1.0, now + HOUR):
        for path in folder.iterdir():
            os.utime(path, (when, when))  # another identity: it is digested again, and has the same weights
        for path in [store, *store.rglob("*")]:
            os.utime(path, (when, when))
        assert go(evaluation_of(predict=predict), folder, store=store).done == (0, 3, 0)
    assert predict.calls == calls
    after = contents(store)
    assert {name: after[name] for name in before} == before
    assert not [name for name in after.keys() - before.keys() if not name.startswith("runs/lenet/")]
