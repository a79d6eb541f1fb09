"""The table as text, piped and in a terminal of fixed width: golden lines."""

import io

import pytest
from rich.console import Console
from tests.report import samples

from milepost.report import rich_table
from milepost.report._align import lines
from milepost.report.table import Results, build

PIPED = """\
run             step  variant  data  slice  name                     n     top1            interval  batch_mean  \
cross_entropy  batch_mean  status
lenet-0a1b2c3d   100  raw      test  all    step-100             10000   0.9412    [0.9362, 0.9462]      0.9411  \
       0.2100      0.2110  ok
lenet-0a1b2c3d   200  raw      -     -      step-200                 -        -                   -           -  \
            -           -  mismatch: step-200.pt: fc.weight is missing
lenet-0a1b2c3d   900  raw      test  all    step-900,last,best   10000  0.99996  [0.9950, 1.0000]      0.9999  \
       0.0123      0.0133  ok
"""


def draw(results: Results, width: int, *, colour: bool = False) -> str:
    """Draw for a terminal of a width."""
    console = Console(
        width=width,
        file=io.StringIO(),
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(rich_table.render(results, console))
    return captured.get()


def test_piped_lines_are_whole_and_plain() -> None:
    drawn = lines(build(*samples.run_of_three()))
    assert [line.split() for line in drawn] == [line.split() for line in PIPED.splitlines()]
    heads = {len(line[: line.index(word)]) for line, word in zip(drawn[1:], ("ok", "mismatch", "ok"), strict=True)}
    assert len(heads) == 1, "the status column is aligned"
    assert "\x1b" not in "".join(drawn)
    assert "─" not in "".join(drawn)


def test_an_empty_table_says_so() -> None:
    assert lines(build([], [])) == ["no checkpoints"]
    assert "no checkpoints" in draw(build([], []), 80)


@pytest.mark.parametrize("width", [66, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    results = build(*samples.run_of_three())
    drawn = draw(results, width).splitlines()
    assert max(map(len, drawn)) <= width
    for piece in ("0.9412", "[0.9362, 0.9462]", "0.99996", "step-900", "last", "best"):
        assert any(piece in line for line in drawn), piece


def test_wide_terminals_have_one_line_a_checkpoint_and_all_columns() -> None:
    drawn = draw(build(*samples.run_of_three()), 140)
    row = next(line for line in drawn.splitlines() if "step-100" in line)
    assert row.split() == [
        "100",
        "step-100",
        "10,000",
        "0.9412",
        "[0.9362,",
        "0.9462]",
        "0.9411",
        "0.2100",
        "0.2110",
        "ok",
    ]
    assert "batch mean" in drawn.splitlines()[0]


def test_narrow_terminals_say_what_they_leave_out() -> None:
    assert "not shown at this width: cross_entropy" in draw(build(*samples.run_of_three()), 48)
    assert "not shown" not in draw(build(*samples.run_of_three()), 100)


def test_failures_are_red_with_class_and_first_line_only() -> None:
    drawn = draw(build(*samples.run_of_three()), 100, colour=True)
    (line,) = [line for line in drawn.splitlines() if "fc.weight is missing" in line]
    assert line.startswith("\x1b[31m")
    assert "mismatch: step-200.pt: fc.weight is missing" in line
    assert "nearest" not in drawn


def test_names_are_never_markup() -> None:
    row = samples.checkpoint(100, "[red]step[/red]")
    assert "[red]step[/red]" in draw(build([samples.record(100, "top1", 0.5)], [row]), 100)


def test_undefined_is_shown_with_its_note() -> None:
    records = [{**samples.record(100, "cross_entropy", None), "note": "undefined: 3 rows are non-finite"}]
    drawn = draw(build(records, [samples.checkpoint(100, "step-100")]), 100)
    assert "undefined" in next(line for line in drawn.splitlines() if "step-100" in line)
    assert "cross_entropy: undefined: 3 rows are non-finite" in drawn
