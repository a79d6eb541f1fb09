"""The inert machine: the library's pickler as the judge on plain data; names never imported; garbage never crashes."""

import collections
import contextlib
import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.checkpoints._codecs.pickle import Known, Placeholder, unpickle
from milepost.errors import CheckpointError, Unsafe

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=20)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)
KNOWN = {
    "_codecs.encode": Known("_codecs.encode", lambda text, _="": text.encode("latin-1")),
    "builtins.bytes": Known("b", bytes),
    "__builtin__.bytes": Known("b", bytes),
}


@given(PLAIN, st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_plain_data_comes_back(value: object, protocol: int) -> None:
    assert unpickle(pickle.dumps(value, protocol), KNOWN, repr, "x").value == value


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_damaged_pickles_give_errors_of_the_tree_or_data(seed: int) -> None:
    draw = random.Random(seed)
    data = bytearray(pickle.dumps({"a": [1, (2, 3)], "b": collections.OrderedDict(x=1)}, draw.choice([2, 4])))
    for _ in range(3):
        data[draw.randrange(len(data))] = draw.randrange(256)
    with contextlib.suppress(CheckpointError):
        unpickle(bytes(data), KNOWN, repr, "x")


def test_names_become_placeholders_and_are_listed_once() -> None:
    made = unpickle(pickle.dumps([collections.Counter("aab"), collections.Counter()], 2), {}, repr, "x")
    assert made.foreign == ("collections.Counter",)
    assert isinstance(made.value[0], Placeholder)
    assert made.value[0].arguments == ({"a": 2, "b": 1},)


def test_keys_that_would_hash_for_ever_do_not() -> None:
    # Each level doubles the work of hashing a tuple: 60 levels would never end.
    program = b"\x80\x02}N" + b"2\x86" * 60 + b"Ns."
    (key,) = unpickle(program, {}, repr, "x").value
    assert isinstance(key, Placeholder)


def test_a_foreign_name_does_not_steer_the_terminal() -> None:
    made = unpickle(b"\x80\x04\x8c\x01\x1b\x8c\x04[31m\x93.", {}, repr, "x")
    assert made.foreign == ("?.[31m",)


def test_extension_codes_are_unsafe() -> None:
    with pytest.raises(Unsafe, match="opcode 0x82"):
        unpickle(b"\x80\x02\x82\x01.", {}, repr, "x")
