"""Plain data: every dataclass that crosses comes back equal; whatever does not fit is refused."""

import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost._internal.serialization import from_plain, to_plain
from milepost.core.types import CheckpointFiles, Extent, Failure, Identity, Role, Table, Target, Tensor, Unit

WHOLE = st.integers(0, 2**62)
IDENTITIES = st.builds(Identity, WHOLE, WHOLE, WHOLE, WHOLE, WHOLE)
FOUND = st.builds(
    CheckpointFiles,
    st.text(),
    st.none() | st.text(),
    st.lists(st.text(), max_size=2).map(tuple),
    IDENTITIES,
    st.sampled_from(["complete", "writing", "failed"]),
    st.none() | st.tuples(st.text(), st.text()),
)
SIZES = st.lists(WHOLE, max_size=3).map(tuple)
TENSORS = st.builds(
    Tensor,
    st.text(),
    st.text(),
    SIZES,
    st.builds(Extent, st.text(), WHOLE, WHOLE, st.text(), st.none() | SIZES),
    st.sampled_from(get_args(Role)),
    st.text(),
)
TABLES = st.builds(Table, st.text(), st.lists(TENSORS, max_size=3).map(tuple), st.none() | WHOLE, st.none() | st.text())
UNITS = st.builds(Unit, WHOLE, WHOLE, st.lists(st.builds(Target, FOUND, st.text()), max_size=2).map(tuple), st.text())


@given(FOUND | TABLES | UNITS)
@settings(max_examples=80, deadline=None)
def test_what_crosses_comes_back(value: object) -> None:
    assert from_plain(type(value), json.loads(json.dumps(to_plain(value)))) == value


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"kind": "a"}, "missing message"),
        ({"kind": "a", "message": "b", "more": 1}, "unknown more"),
        ({"kind": 1, "message": "b"}, "kind: expected str, found 1"),
        ([], "expected a mapping"),
    ],
)
def test_what_does_not_fit_is_refused(data: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_plain(Failure, data)


def test_booleans_are_no_integers_and_literals_are_checked() -> None:
    plain = to_plain(Tensor("t", "int8", (1,), Extent("f", 0, 1)))
    with pytest.raises(ValueError, match="role: expected one of"):
        from_plain(Tensor, plain | {"role": "guest"})
    with pytest.raises(ValueError, match="expected int, found True"):
        from_plain(Tensor, plain | {"shape": [True]})


@pytest.mark.parametrize("value", [b"x", object(), {1: 2}, {"a": {3}}, Failure])
def test_what_is_not_plain_does_not_cross(value: object) -> None:
    with pytest.raises(ValueError, match="cross"):
        to_plain(value)
