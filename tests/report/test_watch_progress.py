"""The live table of a watch: one line a checkpoint, counts of states, and nothing that steers a terminal."""

import io
from collections.abc import Mapping

from rich.console import Console

from milepost.report.watch_progress import StateCounts, WatchTable


def checkpoint(place: int, state: str, **more: object) -> dict[str, object]:
    return {"event": "checkpoint", "run": "exp", "name": f"step-{place}", "path": f"{place}", "step": place} | {
        "state": state,
        **more,
    }


def drawn(*events: Mapping[str, object]) -> str:
    """What a terminal of 80 columns was given."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=20, color_system=None)
    with WatchTable(console) as watching:
        for event in events:
            watching(event)
    return out.getvalue()


def test_a_checkpoint_is_one_line_however_long_its_reason() -> None:
    screen = drawn(checkpoint(7, "failed", run="a_run_with_a_very_long_name", reason="torn: " + "x" * 200))
    lines = [line for line in screen.splitlines() if "step-7" in line]
    assert lines
    assert all("…" in line and "failed" in line for line in lines)
    assert "xxxxx\n" not in screen


def test_names_do_not_steer_the_terminal() -> None:
    hostile = checkpoint(1, "failed", name="step-1\x1b[31m\x07", run="r\x1b[31m", reason="why\x1b[31m")
    failure = {"event": "failure", "path": "p\x1b[31m", "class": "torn", "message": "m\x07"}
    screen = drawn(hostile, failure)
    assert "[31m\\x07  1  failed  why\\x1b[31m" in screen
    assert "\x1b[31m" not in screen
    assert "\x07" not in screen


def test_the_pace_is_shown_while_something_is_evaluated() -> None:
    pace = {"event": "progress", "data": "test", "done": 256, "size": 512, "names": ["step-1"]}
    assert "256/512 rows" in drawn(checkpoint(1, "claimed"), pace)
    screen = drawn(checkpoint(1, "claimed"), pace, checkpoint(1, "done"))
    assert "256/512 rows" not in screen.rpartition("done 1")[2]


def test_what_ended_is_counted_and_what_goes_on_is_in_one_state() -> None:
    states = StateCounts()
    for place, state in ((1, "seen"), (1, "claimed"), (1, "done"), (2, "seen"), (2, "writing"), (3, "vanished")):
        states(checkpoint(place, state))
    assert states.counts() == {"writing": 1, "done": 1, "vanished": 1}
    assert "waiting for checkpoints" in drawn()
