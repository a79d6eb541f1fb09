"""The table of a watch: the document says it row by row; and its laws over any sequence of facts."""

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.watch.states import ENDS, OPEN, Effect, Fact, State, step

DOCUMENT = Path(__file__).parents[2] / "docs" / "design" / "watch.md"


def documented() -> list[tuple[list[State], Fact, str, list[str]]]:
    """Return the rows of the document's table: origins, fact, target, effects."""
    (table,) = re.findall(r"^\| from .*\n\| ---.*\n((?:\|.*\n)+)", DOCUMENT.read_text(), re.MULTILINE)
    rows = []
    for line in table.splitlines():
        origins, fact, target, effects = (cell.strip() for cell in line.strip("|").split(" | "))
        named = [state for state in get_args(State) if state in origins.split(", ")]
        states = [state for state in get_args(State) if state != "-"] if origins == "any" else named
        rows.append((states, Fact(fact), target, [effect for effect in effects.split(", ") if effect != "-"]))
    return rows


def test_each_step_is_a_row_of_the_document_and_all_else_changes_nothing() -> None:
    steps = {
        (state, fact): (state if target == "same" else target, tuple(effects))
        for states, fact, target, effects in documented()
        for state in states
    }
    assert len(steps) == sum(len(states) for states, *_ in documented())  # no state has two rows for one fact
    for state in get_args(State):
        for fact in Fact:
            assert step(state, fact) == steps.get((state, fact), (state, ())), (state, fact)


def test_the_document_names_every_state_fact_and_effect() -> None:
    rows = documented()
    assert {fact for _, fact, _, _ in rows} == set(Fact)
    assert {state for states, *_ in rows for state in states} == set(get_args(State))
    assert {effect for *_, effects in rows for effect in effects} == set(get_args(Effect))


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
