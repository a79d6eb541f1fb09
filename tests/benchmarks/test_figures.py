"""The benchmarks' own helpers."""

import pytest
from benchmarks import _figures, _table


def test_a_limit_is_judged() -> None:
    assert _figures.at_most("x", 2.0, 2.0, "s").held is True
    assert _figures.at_most("x", 2.1, 2.0, "s").held is False
    assert _figures.plain_figure("x", 1234.5, "s", 1) == _figures.Figure("x", "1,234.5 s")


def test_ratios_are_taken_round_by_round() -> None:
    # The machine was ten times slower in the last round: pairs do not mind.
    assert _figures.ratio([2.0, 2.0, 20.0], [1.0, 1.0, 10.0]) == pytest.approx(2.0)


def test_functions_are_timed_in_turn() -> None:
    called: list[str] = []
    times = _figures.in_turn([lambda: called.append("a"), lambda: called.append("b")], rounds=2, warm=1)
    assert called == list("ababab")
    assert [len(item) for item in times] == [2, 2]


def test_a_broken_promise_is_shown_in_the_table() -> None:
    figure = {"what": "speed", "found": "3 s", "promise": "at most 2 s", "held": False}
    drawn = _table.section("x.py", {"question": "Quick?", "machine": "one core", "figures": [figure]})
    assert drawn.startswith("## Quick?\n\n`python benchmarks/x.py` on one core.")
    assert drawn.endswith("| speed | 3 s | at most 2 s: **not held** |\n")
