"""The table of a watch: what is documented, row by row, and its laws over any sequence of facts."""

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.watch.states import ENDS, OPEN, TABLE, Effect, Fact, State, Transition, step

DOCUMENT = Path(__file__).parents[2] / "docs" / "design" / "watch.md"


def line_of(row: Transition) -> str:
    """Return a row as the document shows it."""
    origins = "any" if set(row.origins) == set(get_args(State)) - {"-"} else ", ".join(row.origins)
    return f"| {origins} | {row.fact} | {row.target or 'same'} | {', '.join(row.effects) or '-'} |"


def test_the_document_shows_the_table() -> None:
    (table,) = re.findall(r"^\| from .*\n\| ---.*\n((?:\|.*\n)+)", DOCUMENT.read_text(), re.MULTILINE)
    assert table.splitlines() == [line_of(row) for row in TABLE]


CASES = [
    ("-", Fact.NEW, "seen", ("pin", "read")),
    ("seen", Fact.COMPLETE, "complete", ("pin", "emit")),
    ("writing", Fact.COMPLETE, "complete", ("pin", "emit")),
    ("seen", Fact.INCOMPLETE, "writing", ("emit",)),
    ("writing", Fact.REFUSED, "failed", ("publish", "emit", "release")),
    ("seen", Fact.NO_CHECKPOINT, "ignored", ("release",)),
    ("writing", Fact.CHANGED, "writing", ("restart", "read")),
    ("ignored", Fact.CHANGED, "seen", ("restart", "read")),
    ("writing", Fact.STILL, "complete", ()),
    ("complete", Fact.LEFT_OUT, "skipped", ("emit", "release")),
    ("complete", Fact.TURN, "claimed", ("evaluate",)),
    ("claimed", Fact.BEGUN, "claimed", ("emit",)),
    ("writing", Fact.PINNED, "writing", ("read",)),
    ("complete", Fact.PINNED, "complete", ()),
    ("complete", Fact.PIN_LOST, "seen", ("read",)),
    ("complete", Fact.TAKEN, "elsewhere", ("ask again",)),
    ("elsewhere", Fact.GONE, "vanished", ("publish", "emit", "release")),
    ("writing", Fact.RENAMED, "ignored", ("release",)),
    ("claimed", Fact.LEASED, "elsewhere", ("ask again",)),
    ("elsewhere", Fact.FREED, "complete", ()),
    ("claimed", Fact.RESULTS, "done", ("emit", "release")),
    ("claimed", Fact.TORN, "writing", ("emit",)),
    ("claimed", Fact.PASSING, "complete", ("emit",)),
    ("claimed", Fact.FAILURE, "failed", ("emit", "release")),
    ("claimed", Fact.DIFFERS, "seen", ("read",)),
    ("failed", Fact.RETRY, "seen", ("read",)),
    ("done", Fact.REPLACED, "done", ("further record",)),
]


@pytest.mark.parametrize(("state", "fact", "target", "effects"), CASES)
def test_a_row(state: State, fact: Fact, target: State, effects: tuple[Effect, ...]) -> None:
    assert step(state, fact) == (target, effects)


def test_every_row_and_fact_has_a_case() -> None:
    rows = {(row.fact, origin) for row in TABLE for origin in row.origins}
    assert {(fact, state) for state, fact, _, _ in CASES} <= rows
    for row in TABLE:
        assert any(fact == row.fact and state in row.origins for state, fact, _, _ in CASES), row
    assert {fact for _, fact, _, _ in CASES} == set(Fact)


def test_no_state_has_two_rows_for_one_fact() -> None:
    pairs = [(origin, row.fact) for row in TABLE for origin in row.origins]
    assert len(pairs) == len(set(pairs))


@given(st.lists(st.sampled_from(Fact)))
def test_no_sequence_of_facts_ends_twice_or_loses_a_pin(facts: list[Fact]) -> None:
    state: State = "-"
    ends = retried = published = released = 0
    for fact in [Fact.NEW, *facts]:
        before = state
        state, effects = step(before, fact)
        ends += state in ENDS and before not in ENDS
        retried += fact is Fact.RETRY and before == "failed"
        published += "publish" in effects
        released += "release" in effects and before not in (*ENDS, "ignored")
        assert ("release" in effects) == (before in OPEN and state not in OPEN)  # a pin goes exactly with the end
        assert state in ENDS or before not in ENDS or fact is Fact.RETRY
        assert "publish" not in effects or state in ("failed", "vanished")
        assert (state == "claimed" and before != "claimed") == ("evaluate" in effects)
    assert ends == (state in ENDS) + retried
    assert published <= ends <= released


@pytest.mark.parametrize("state", OPEN)
def test_every_open_state_has_a_way_to_every_end(state: State) -> None:
    reached, ends = {state}, set()
    while True:
        further = {step(one, fact)[0] for one in reached for fact in Fact} - reached
        if not further:
            break
        reached |= further
        ends |= further & set(ENDS)
    assert ends == set(ENDS)
