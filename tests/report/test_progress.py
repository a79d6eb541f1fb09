"""Progress on standard error: plain lines, and the live line of a terminal."""

import io
from typing import Any

from rich.console import Console

from milepost.report.progress import Lines, RunLines, progress, split

PROGRESS: dict[str, Any] = {
    "event": "progress",
    "data": "test",
    "names": ["step-100", "step-200"],
    "done": 512,
    "size": 10_000,
    "examples_per_second": 1234.5,
    "seconds": {"load": 1.0, "data": 1.0, "model": 7.0, "metrics": 1.0},
}
EVENTS: list[dict[str, Any]] = [
    {"event": "start", "store": "evals", "code": "c0de", "checkpoints": 2},
    {"event": "note", "message": "resumes 1 of 2 checkpoints"},
    PROGRESS,
    {"event": "checkpoint", "path": "a.pt", "name": "step-100", "step": 100, "variant": "raw", "state": "done"},
    {"event": "failure", "path": "b.pt", "class": "torn", "message": "12 bytes missing\nmore", "attempts": 1},
    {"event": "something new"},
]


def test_plain_lines() -> None:
    stream = io.StringIO()
    with Lines(stream, clock=lambda: 0.0) as listen:
        for event in EVENTS:
            listen(event)
    assert stream.getvalue().splitlines() == [
        "store evals, 2 checkpoints",
        "resumes 1 of 2 checkpoints",
        "done: step-100 (step 100)",
        "failed: b.pt: torn: 12 bytes missing",
    ]


def test_plain_progress_comes_now_and_then_only() -> None:
    times = iter([0.0, 1.0, 11.0, 11.0, 12.0, 22.0, 22.0])
    stream = io.StringIO()
    with Lines(stream, clock=lambda: next(times)) as listen:
        for _ in range(4):
            listen(PROGRESS)
    line = "test  512/10,000 rows  1,234 examples/s  load 10% data 10% model 70% metrics 10%  step-100 +1"
    assert stream.getvalue().splitlines() == [line, line]


def test_the_live_line_holds_rows_rate_and_split() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=160, color_system=None)
    with RunLines(console) as listen:
        for event in EVENTS:
            listen(event)
        listen(PROGRESS)
    drawn = stream.getvalue()
    for piece in ("512/10,000 rows", "examples/s", "model 70%", "step-100 +1", "torn: 12 bytes", "1/2 done"):
        assert piece in drawn, piece


def test_a_stream_that_is_no_terminal_gets_lines() -> None:
    assert isinstance(progress(io.StringIO()), Lines)


def test_no_time_spent_has_no_split() -> None:
    assert split({}) == ""
