"""Stop conditions: what a producer has said, or has stopped saying, by a clock that the test sets."""

import os
from pathlib import Path

from milepost.watch.stop_conditions import Producer, StopConditions


def test_a_heartbeat_that_stands_still_ends_the_watch_and_one_that_never_was_does_not(tmp_path: Path) -> None:
    now = [0.0]
    producer = Producer(str(tmp_path), StopConditions(heartbeat=60), lambda: now[0])
    now[0] = 1000.0
    assert producer.ended() is None  # no HEARTBEAT: this trainer has none
    beat = tmp_path / "HEARTBEAT"
    beat.touch()
    os.utime(beat, (1, 1))  # old by another machine's clock: only whether it moves counts
    assert producer.ended() is None
    now[0] += 59
    assert producer.ended() is None
    os.utime(beat, (2, 2))
    assert producer.ended() is None
    now[0] += 59
    assert producer.ended() is None
    now[0] += 1
    assert producer.ended() == "HEARTBEAT stood still for 60 s"


def test_done_counts_only_where_it_was_asked_for_also_beside_a_file_that_was_named(tmp_path: Path) -> None:
    (tmp_path / "DONE").touch()
    file = tmp_path / "last.npz"
    file.touch()
    assert Producer(str(tmp_path), StopConditions()).ended() is None
    assert Producer(str(tmp_path), StopConditions(done=True)).ended() == "DONE is there"
    assert Producer(str(file), StopConditions(done=True)).ended() == "DONE is there"


def test_a_change_restarts_the_idle_time_and_steps_only_grow(tmp_path: Path) -> None:
    now = [0.0]
    producer = Producer(str(tmp_path), StopConditions(idle=10, max_steps=100), lambda: now[0])
    now[0] = 9.0
    producer.changed()
    now[0] = 18.0
    assert producer.ended() is None
    producer.step(100)
    producer.step(50)
    producer.step(None)
    assert producer.ended() == "step 100 was reached"
