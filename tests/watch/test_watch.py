"""The watch in this process: states, stop conditions, order, `every`, pins, overwritten names, growing files, links.

What happens to the folder happens in answer to what the watch reports, not after some time.
"""

import os
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from tests._material import Events, evaluation_of, request_of, save
from tests.watch._watching import DONE, FAST, ROWS, counts, deleting, go, made, states, values

from milepost.store.store import Store
from milepost.watch.scheduler import Order
from milepost.watch.stop_conditions import StopConditions
from milepost.watch.watch import WatchOptions, watch

# ------------------------------------------------------------------------------------------------------------ endings


def test_everything_that_is_there_goes_through_the_states(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in (1, 2, 3):
        save(run / f"step-{step}.npz", made(step))
    whole = (run / "step-1.npz").read_bytes()
    (run / "step-9.npz").write_bytes(whole[: len(whole) // 2])
    (run / "log.txt").write_text("no checkpoint")
    (run / "DONE").touch()
    events = go(tmp_path, run)
    assert counts(events) == {"evaluated": 3, "failed": 1}
    for step in (1, 2, 3):
        assert states(events, f"step-{step}.npz") == ["seen", "complete", "claimed", "done"]
    assert states(events, "step-9.npz") == ["seen", "writing", "failed"]
    assert re.match(
        r"torn: .*the zip archive ends after \d+ bytes without its directory", events.failures["step-9.npz"]
    )
    assert states(events, "log.txt") == []
    assert not (tmp_path / "store" / "pins").exists()
    again = go(tmp_path, run)
    assert counts(again) == {"up_to_date": 3, "failed": 1}
    assert again.of("record") == []


def test_what_comes_later_is_evaluated_and_done_ends_the_watch(tmp_path: Path) -> None:
    runs = [tmp_path / "a", tmp_path / "b"]  # neither is there yet
    events = Events()

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "start":
            runs[0].mkdir()
            save(runs[0] / "step-1.npz", made(1))
        if event.get("state") == "done" and event["name"] == "step-1" and event["run"] == "a":
            (runs[1] / "deep").mkdir(parents=True)
            save(runs[1] / "deep" / "step-2.npz", made(2))
            (runs[0] / "DONE").touch()  # one run's end is not the other's
        if event.get("state") == "done" and event["name"] == "step-2":
            save(runs[0] / "step-3.npz", made(3))
            (runs[1] / "DONE").touch()

    watch(request_of(evaluation_of(ROWS), *runs, store=tmp_path / "store"), FAST, listen)
    assert counts(events) == {"evaluated": 3}
    assert [item["run"] for item in events.of("checkpoint") if item["state"] == "done"] == ["a", "deep", "a"]


def test_a_step_ends_the_watch_and_what_is_left_is_evaluated_in_order(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in (100, 200, 300, 400, 500):
        save(run / f"step-{step}.npz", made(step))

    def taken(order: Order) -> list[int]:
        options = WatchOptions(StopConditions(max_steps=500), order, interval=0.05)
        events = Events()
        request = request_of(evaluation_of(ROWS), run, store=tmp_path / order, per_pass=1)
        watch(request, options, events.append)
        return [item["step"] for item in events.of("checkpoint") if item["state"] == "done"]

    assert taken("oldest") == [100, 200, 300, 400, 500]
    assert taken("latest") == [500, 400, 300, 200, 100]
    assert taken("bisect") == [500, 100, 300, 400, 200]


def test_every_keeps_the_first_of_so_many_steps_also_after_a_restart(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    options = WatchOptions(DONE, every=100, interval=0.05)
    for step in (10, 90, 130, 160):
        save(run / f"step-{step}.npz", made(step))
    save(run / "best.npz", made(0))
    (run / "DONE").touch()
    assert counts(go(tmp_path, run, how=options)) == {"evaluated": 3, "skipped": 2}
    (run / "step-10.npz").unlink()
    save(run / "step-210.npz", made(210))
    events = go(tmp_path, run, how=options)
    assert counts(events) == {"evaluated": 1, "up_to_date": 2, "skipped": 2}
    assert states(events, "step-90.npz") == ["seen", "complete", "skipped"]
    assert sorted(values(tmp_path / "store")) == [10, 130, 210]


def test_a_step_that_every_leaves_out_ends_the_watch_too(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in (100, 150):
        save(run / f"step-{step}.npz", made(step))
    options = WatchOptions(StopConditions(max_steps=150), every=100, interval=0.05)
    assert counts(go(tmp_path, run, how=options)) == {"evaluated": 1, "skipped": 1}


def test_a_file_that_grows_is_waited_for_and_one_that_stands_still_is_torn(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save(tmp_path / "whole.npz", made(1))
    whole = (tmp_path / "whole.npz").read_bytes()
    (run / "step-1.npz").write_bytes(whole[:10])  # not even its format is known
    (run / "step-2.npz").write_bytes(whole[:-1])
    events = Events()
    pieces = [whole[at : at + 64] for at in range(10, len(whole), 64)]
    writer = threading.Thread(target=grow, args=(run / "step-1.npz", pieces))

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event.get("state") == "writing" and event["step"] == 1 and not writer.is_alive():
            writer.start()

    options = WatchOptions(DONE, interval=0.02)
    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), options, listen)
    writer.join()
    assert counts(events) == {"evaluated": 1, "failed": 1}
    assert states(events, "step-1.npz") == ["seen", "writing", "complete", "claimed", "done"]
    assert states(events, "step-2.npz") == ["seen", "writing", "failed"]
    assert list(events.failures) == ["step-2.npz"]


def test_an_incomplete_file_is_given_up_after_its_time_though_the_watch_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save(tmp_path / "whole.npz", made(1))
    (run / "step-1.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-1])
    hour_ago = time.time() - 3600
    os.utime(run / "step-1.npz", (hour_ago, hour_ago))
    events = Events()

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event.get("state") == "failed":
            os.replace(tmp_path / "whole.npz", run / "step-1.npz")  # its writer comes back
        if event.get("state") == "done":
            (run / "DONE").touch()

    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), FAST, listen)
    assert states(events, "step-1.npz") == ["seen", "writing", "failed", "seen", "complete", "claimed", "done"]
    assert counts(events) == {"evaluated": 1, "failed": 1}
    listing = Store.open(tmp_path / "store").listing()
    assert [row["failure"] for row in listing.checkpoints()] == [None]


def grow(path: Path, pieces: list[bytes]) -> None:
    """Write a file piece by piece, then say that training is done."""
    for piece in pieces:
        with open(path, "ab") as file:
            file.write(piece)
        time.sleep(0.01)
    (path.parent / "DONE").touch()


# ----------------------------------------------------------------------------------------- claimed against deletion


def test_what_is_deleted_before_its_turn_is_evaluated_from_its_pin(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in range(1, 7):
        save(run / f"step-{step}.npz", made(step))
    (run / "DONE").touch()
    events = Events()
    names = [f"step-{step}.npz" for step in (1, 2, 5, 6)]
    request = request_of(evaluation_of(ROWS), run, store=tmp_path / "store", per_pass=2)
    watch(request, FAST, deleting(run, events, *names))
    assert counts(events) == {"evaluated": 6}
    assert sorted(os.listdir(run)) == ["DONE", "step-3.npz", "step-4.npz"]
    assert {str(run)} == {os.path.dirname(item["checkpoint"]["path"]) for item in events.of("record")}
    assert not (tmp_path / "store" / "pins").exists()


def test_an_overwritten_name_is_evaluated_each_time(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save(run / "last.npz", made(0))
    events = Events()
    step = 0

    def listen(event: dict[str, Any]) -> None:
        nonlocal step
        events.append(event)
        if event.get("state") == "done":
            step += 1
            if step == 5:
                (run / "DONE").touch()
            elif step % 2:
                save(run / "last.npz", made(step))  # in place
            else:
                save(run / ".next.npz", made(step))
                os.replace(run / ".next.npz", run / "last.npz")

    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), FAST, listen)
    assert counts(events) == {"evaluated": 5}
    assert len({item["checkpoint"]["digest"] for item in events.of("record")}) == 5


def test_a_trainer_that_goes_back_in_step_is_followed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in (1, 2, 3):
        save(run / f"step-{step}.npz", made(step))
    events = Events()

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event.get("state") == "done" and event["step"] == 3 and not (run / "DONE").exists():
            for step in (2, 3):  # from another seed: new content under old names
                save(run / f"step-{step}.npz", made(10 + step))
            (run / "DONE").touch()

    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), FAST, listen)
    assert counts(events) == {"evaluated": 5}
    assert states(events, "step-2.npz") == 2 * ["seen", "complete", "claimed", "done"]
    assert states(events, "step-1.npz") == ["seen", "complete", "claimed", "done"]


def test_links_that_lead_out_of_the_folder_are_rows_and_never_pinned_or_read(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    save(other / "step-7.npz", made(7))
    save(run / "step-1.npz", made(1))
    (run / "last.npz").symlink_to("step-1.npz")
    (run / "step-2.npz").symlink_to(other / "step-7.npz")
    (run / "checkpoints").symlink_to(other)
    (run / "notes").symlink_to(other / "step-7.npz")
    (run / "step-3.npz").symlink_to("step-0.npz")  # to nothing
    (run / "step-4").mkdir()
    (run / "step-4" / "saved_model.pb").touch()
    (run / "DONE").touch()
    before = (other / "step-7.npz").stat().st_ctime_ns
    events = go(tmp_path, run)
    assert counts(events) == {"evaluated": 1, "up_to_date": 1, "failed": 3, "vanished": 1}
    assert sorted(events.failures) == ["checkpoints", "step-2.npz", "step-3.npz", "step-4"]
    for name in ("checkpoints", "step-2.npz"):
        assert "outside of the named folders" in events.failures[name]
    assert events.failures["step-3.npz"].startswith("vanished: a symbolic link to step-0.npz, which is not there")
    assert events.failures["step-4"].startswith("program: ")
    assert (other / "step-7.npz").stat().st_ctime_ns == before


def test_a_renamed_temporary_file_is_one_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save(run / "step-1.npz", made(1))
    whole = (run / "step-1.npz").read_bytes()
    (run / "step-2.part").write_bytes(whole[:400])
    events = Events()

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event.get("state") == "done" and event["step"] == 1:
            with open(run / "step-2.part", "ab") as file:
                file.write(whole[400:])
            os.replace(run / "step-2.part", run / "step-2.npz")
            (run / "DONE").touch()

    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), FAST, listen)
    assert counts(events) == {"evaluated": 1, "up_to_date": 1}  # of the same content
    assert states(events, "step-2.part")[:2] == ["seen", "writing"]


def test_a_pattern_of_folders_is_watched_as_the_folders_are(tmp_path: Path) -> None:
    """Also its links, what a watch that died had pinned of a folder that is gone, and what `every` had chosen."""
    runs = [tmp_path / "run-1", tmp_path / "run-2"]
    for step, run in enumerate(runs, 1):
        run.mkdir()
        save(run / f"step-{step}.npz", made(step))
        (run / "DONE").touch()
    (runs[0] / "last.npz").symlink_to("step-1.npz")
    status = (runs[1] / "step-2.npz").stat()
    with Store.create(tmp_path / "store").pins as pins:
        pins.hold([(str(runs[1] / "step-2.npz"), status.st_dev, status.st_ino)])
    shutil.rmtree(runs[1])
    events = go(tmp_path, tmp_path / "run-*", how=WatchOptions(DONE, every=100, interval=0.05))
    assert counts(events) == {"evaluated": 2, "up_to_date": 1}
    assert events.of("failure") == []
    assert states(events, "last.npz")[-1] == "done"
    save(runs[0] / "step-9.npz", made(9))
    assert counts(go(tmp_path, tmp_path / "run-*", how=WatchOptions(DONE, every=100, interval=0.05)))["skipped"] == 1
