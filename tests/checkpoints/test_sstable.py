"""The table, snappy and protocol buffers under TensorFlow's files: round trips by law, and bytes made to hurt."""

import itertools
import random
import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.checkpoints import _tf_writer as writer

from milepost._internal.bounded import opened
from milepost.checkpoints._codecs import snappy
from milepost.checkpoints._codecs.protobuf import Message, varint
from milepost.checkpoints._codecs.sstable import MAGIC, open_table
from milepost.checkpoints.formats._tensorflow.slices import Slice, covered, key_of, slice_of
from milepost.checkpoints.formats._tensorflow.v1_values import values_of
from milepost.errors import CheckpointError, Corrupt, Torn

COUNT = itertools.count()
KEYS = st.dictionaries(st.binary(max_size=12), st.binary(max_size=40), max_size=40)


def where() -> str:
    return "here"


def read(path: Path, made: bytes) -> dict[bytes, bytes]:
    path.write_bytes(made)
    with opened(str(path)) as file:
        return {key: bytes(value) for key, value in open_table(file).entries()}


# ------------------------------------------------------------------------------------------------------- round trips


@given(KEYS, st.integers(1, 300), st.sampled_from([None, writer.literal, writer.compressed]))
def test_what_was_put_into_a_table_comes_out_again(
    tmp_path_factory: pytest.TempPathFactory, held: dict[bytes, bytes], size: int, compress: object
) -> None:
    path = tmp_path_factory.getbasetemp() / f"round{next(COUNT)}.sst"
    made = writer.table(sorted(held.items()), size, compress)  # type: ignore[arg-type]  # one of the three
    assert read(path, made) == held
    with opened(str(path)) as file:
        table = open_table(file)
        for key, value in held.items():
            found = table.get(key)
            assert found is not None
            assert bytes(found) == value
        assert table.get(b"\xff" * 20) is None
        first = table.first()
        assert (first and first[0]) == min(held, default=None)


@given(st.lists(st.one_of(st.binary(max_size=90), st.sampled_from([b"abcd" * 40, bytes(300)])), max_size=12))
def test_snappy_gives_back_what_was_compressed(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    for compress in (writer.literal, writer.compressed):
        assert snappy.unpack(memoryview(compress(whole)), "here") == whole


def test_snappys_long_literals_and_far_copies() -> None:
    whole = random.Random(1).randbytes(70_000)
    assert snappy.unpack(memoryview(writer.literal(whole)), "here") == whole
    far = writer.varint(70_003) + bytes([62 << 2]) + struct.pack("<I", 69_999)[:3] + whole
    far += bytes([3 | 2 << 2]) + struct.pack("<I", 70_000)
    assert snappy.unpack(memoryview(far), "here") == whole + whole[:3]


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, (1 << 32) - 1), st.text(max_size=20))
def test_a_message_gives_back_its_fields(number: int, word: int, text: str) -> None:
    made = writer.varint(1 << 3) + writer.varint(number) + writer.fixed32(6, word) + writer.data(300, text.encode())
    message = Message(memoryview(made), where)
    assert (message.integer(1), message.fixed32(6), message.text(300)) == (number, word, text)
    assert (message.integer(2, 7), message.fixed32(9), message.text(5), message.has(1)) == (7, 0, "", True)


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=50))
def test_packed_numbers_come_back(numbers: list[int]) -> None:
    made = writer.data(10, b"".join(map(writer.varint, numbers)))
    assert values_of(Message(memoryview(made), where), "int64", len(numbers), where).tolist() == numbers


@given(st.lists(st.tuples(st.integers(0, 8000), st.integers(-1, 8000)), max_size=4))
def test_keys_and_extents_of_slices_are_those_of_the_writer(axes: list[tuple[int, int]]) -> None:
    axes = [(0 if length < 0 else start, length) for start, length in axes]
    made = slice_of(memoryview(b"".join(writer.extent(*axis) for axis in axes)), where)
    assert made == Slice(tuple(start for start, _ in axes), tuple(length for _, length in axes))
    assert key_of(b"scope/w", made) == writer.slice_key("scope/w", axes)


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=2, max_size=30, unique=True))
def test_ordered_code_keeps_the_order_of_numbers(numbers: list[int]) -> None:
    keys = [key_of(b"w", Slice((number,), (1,))) for number in sorted(numbers)]
    assert keys == sorted(keys)


# ------------------------------------------------------------------------------------------------------------- slices


@pytest.mark.parametrize(
    ("shape", "slices", "words"),
    [
        ((4, 2), [((0, 0), (2, -1)), ((2, 0), (2, -1))], None),
        ((4, 2), [((0, 0), (-1, 1)), ((0, 1), (4, 1))], None),
        ((4, 2), [((0, 0), (2, -1)), ((3, 0), (1, -1))], "hold 6 of 8 items"),
        ((4, 2), [((0, 0), (2, -1)), ((1, 0), (2, -1))], "overlap"),
        ((4, 2), [((0, 0), (3, -1)), ((2, 0), (3, -1))], "from 2 to 5 of an axis of 4"),
        ((4, 2), [((0,), (4,))], "a slice of 1 axes of a variable of 2"),
        ((4,), [], "hold 0 of 4"),
        ((4,), [((0,), (1,))] * 5000, "5,000 slices"),
        ((0, 2), [((0, 0), (-1, -1))], None),
        ((), [((), ())], None),
        ((), [((), ()), ((), ())], "hold 2 of 1"),
    ],
)
def test_slices_cover_a_variable_exactly(
    shape: tuple[int, ...], slices: list[tuple[tuple[int, ...], tuple[int, ...]]], words: str | None
) -> None:
    made = [Slice(*item) for item in slices]
    if words is None:
        assert len(covered(shape, made, where)) == len(slices)
    else:
        with pytest.raises(Corrupt, match=words):
            covered(shape, made, where)


# ---------------------------------------------------------------------------------------------------- made to hurt


def entry(shared: int, rest: bytes, size: int, value: bytes) -> bytes:
    return writer.varint(shared) + writer.varint(len(rest)) + writer.varint(size) + rest + value


def of_blocks(*contents: bytes) -> bytes:
    made, index = b"", []
    for number, content in enumerate(contents):
        index.append((b"%d" % number, writer.varint(len(made)) + writer.varint(len(content))))
        made += writer.sealed(content)
    return writer.framed(made, writer.block(index, 1))


def of_handles(*handles: tuple[int, int]) -> bytes:
    index = [(b"%06d" % k, writer.varint(at) + writer.varint(size)) for k, (at, size) in enumerate(handles)]
    return writer.framed(writer.sealed(writer.block([(b"a", b"b")])), writer.block(index, 1))


END = struct.pack("<2I", 0, 1)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (of_blocks(entry(0, b"a", 1 << 40, b"") + END), "a value of 1,099,511,627,776 bytes"),
        (of_blocks(entry(9, b"a", 0, b"") + END), "a key of 9"),
        (of_blocks(entry(0, b"a" * 20_000, 0, b"") + END), "keys have at most 16,384"),
        (of_blocks(entry(0, b"b", 0, b"") + entry(0, b"a", 0, b"") + END), "not sorted"),
        (of_blocks(entry(0, b"b", 0, b"") + entry(0, b"b", 0, b"") + END), "not sorted"),
        (of_blocks(struct.pack("<I", 1 << 30)), "declares 1,073,741,824 restarts"),
        (of_blocks(b"\xff" * 20 + END), "a number without an end"),
        (of_handles((0, 1 << 62)), "does not fit into the file's"),
        (of_handles((1 << 63, 3)), "does not fit into the file's"),
        (of_handles((0, 1), (0, 1)), "overlaps another"),
        (of_handles((0, 4)), "is damaged: CRC-32C"),
        (writer.framed(b"", writer.block([(b"a", b"\xff" * 11)], 1)), "a number without an end"),
        (b"x" * 40 + bytes(40) + MAGIC, "is damaged: CRC-32C"),
    ],
)
def test_tables_that_cannot_be_are_refused_with_little_memory(made: bytes, words: str, tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=words) as caught:
            read(tmp_path / "a.sst", made)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(caught.value, Corrupt)
    assert peak < 64 << 20


def test_a_table_without_its_end_is_torn(tmp_path: Path) -> None:
    whole = writer.table([(b"", b"x"), (b"a", b"y")])
    for size in (0, 1, 47, len(whole) - 1):
        with pytest.raises(Torn, match="footer, written last"):
            read(tmp_path / "a.sst", whole[:size])


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (b"\x05\x10hell", "a literal of 5 bytes, 4 are left"),
        (b"\x05\x0chell", "5 bytes are declared, 4 are there"),
        (b"\x03\x0chell", "3 bytes are declared, more"),
        (b"\x08\x0chell\x01\x05", "copies from 5 bytes back, but only 4 bytes are decoded"),
        (b"\x08\x0chell\x01\x00", "copies from 0 bytes back"),
        (b"\x08\x0chell\x02\x05", "a copy is cut off"),
        (b"\x08\xfc\x01", "a literal's length is cut off"),
        (b"\xff\xff\xff\xff\x0f", "more than snappy can hold"),
        (b"\xff" * 12, "a number without an end"),
    ],
)
def test_snappy_that_lies_is_corrupt(made: bytes, words: str) -> None:
    with pytest.raises(Corrupt, match=words):
        snappy.unpack(memoryview(made), "here")


@pytest.mark.parametrize(
    "made",
    [b"\x0b", b"\x0c", b"\x08", b"\x0a\x05a", b"\x0a" + b"\xff" * 10, b"\x0d\x00", b"\x09\x00", b"\xff" * 11, b"\x0f"],
)
def test_messages_that_end_within_a_field_or_hold_groups_are_corrupt(made: bytes) -> None:
    with pytest.raises(Corrupt, match=r"^here: "):
        Message(memoryview(made), where)


def test_a_field_of_another_kind_is_corrupt() -> None:
    message = Message(memoryview(writer.number(1, 3) + writer.data(2, b"\xff")), where)
    for asked in (lambda: message.fixed32(1), lambda: message.text(1), lambda: message.messages(1)):
        with pytest.raises(Corrupt, match="has wire type 0, expected"):
            asked()
    with pytest.raises(Corrupt, match="not UTF-8"):
        message.text(2)
    assert message.messages(2) == [b"\xff"]


@pytest.mark.parametrize(
    ("made", "dtype", "count", "words"),
    [
        (writer.data(5, bytes(7)), "float32", 2, "7 bytes of values, its shape needs 8"),
        (writer.data(4, bytes(3)), "int32", 1, "3 bytes of values"),
        (writer.data(7, b"\x01\x02"), "int32", 3, "2 values, its shape needs 3"),
        (writer.data(7, b"\x01\x82"), "int32", 2, "cut off"),
        (writer.data(7, b"\xff" * 11 + b"\x01"), "int32", 1, "an integer takes 12 bytes"),
        (writer.data(7, b"\xac\x02"), "uint8", 1, "does not fit uint8"),
        (writer.data(7, b"\xac\x02"), "int8", 1, "does not fit int8"),
        (writer.data(13, b"\xff\xff\x04"), "float16", 1, "does not fit uint16"),
        (b"", "float64", 1 << 50, "0 bytes of values"),
    ],
)
def test_values_that_do_not_fit_their_shape_or_type_are_corrupt(
    made: bytes, dtype: str, count: int, words: str
) -> None:
    with pytest.raises(Corrupt, match=words):
        values_of(Message(memoryview(made), where), dtype, count, where)


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_corrupt_and_nothing_else(made: bytes) -> None:
    for ask in (
        lambda: Message(memoryview(made), where),
        lambda: snappy.unpack(memoryview(made), "here"),
        lambda: varint(memoryview(made), 0, where),
        lambda: slice_of(memoryview(made), where),
    ):
        with suppress(Corrupt):
            ask()
