"""Names in their printed form: any bytes go there and back, and nothing of them steers what shows them."""

import io
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from milepost.core.escaping import ERRORS, escaped, message, one_line, printable, unescaped

# Bytes that look like escapes, or begin one, are what a random text has too rarely.
PIECES = st.sampled_from(
    [b"\\", b"\\x", b"\\x5c", b"x0a", b"\n", b"\r", b"\x1b[2J", b"\xe9", b"\xc3\xa9", b"\xed\xb3\xbf"]
)
NAMES = st.lists(PIECES | st.sampled_from([b" ", b"\xe2\x80\xae", b"e\xcc\x81", b"\\udce9"]) | st.binary(max_size=6))
BYTES = NAMES.map(b"".join).map(lambda name: name.translate(None, b"\0/"))


@given(BYTES)
@example(b"a\\\nb")
@example(b"\\x0\n")
@example(b"\\\\x41")
@example(b"\xc3\\xa9")
def test_any_bytes_of_a_name_come_back_from_their_printed_form(name: bytes) -> None:
    printed = escaped(os.fsdecode(name))
    assert os.fsencode(unescaped(printed)) == name
    assert printed.isprintable()
    assert "  " not in printed
    assert printed == printed.strip(" ")


@given(BYTES, BYTES)
def test_two_names_have_two_printed_forms(one: bytes, other: bytes) -> None:
    assert (one == other) == (escaped(os.fsdecode(one)) == escaped(os.fsdecode(other)))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_printable_text_without_escapes_is_its_own_printed_form(text: str) -> None:
    plain = " ".join(text.replace("\\", "/").split())
    assert escaped(plain) == plain or not plain.isprintable()


@given(st.text(st.characters()))
def test_any_text_whatever_has_a_printed_form(text: str) -> None:
    """Names of tensors may hold halves of pairs, which no file's name does."""
    printed = escaped(text)
    assert printed.isprintable()
    if not any(0xDC80 <= ord(sign) <= 0xDCFF for sign in text):
        assert unescaped(printed) == text


@given(BYTES)
def test_what_is_printed_stays_so_in_a_text_or_a_line(name: bytes) -> None:
    printed = escaped(os.fsdecode(name))
    assert one_line(printed) == printable(printed) == printed


@given(st.text(st.characters()))
def test_a_line_is_one_line_and_a_message_has_one_that_begins_at_the_edge(text: str) -> None:
    assert one_line(text).isprintable()
    lines = message(text).split("\n")
    assert all(line.replace("\t", "").isprintable() for line in lines)
    assert all(not line or line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1", "cp1252", "euc_jp"])
@given(st.text(st.characters()))
def test_no_stream_refuses_a_text(encoding: str, text: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=ERRORS, newline="")
    stream.write(text)
    stream.flush()


def test_a_sign_that_a_stream_lacks_is_written_so_that_it_can_be_typed_back() -> None:
    data = io.BytesIO()
    stream = io.TextIOWrapper(data, encoding="ascii", errors=ERRORS)
    stream.write("épreuve-9 \udce9")
    stream.flush()
    assert unescaped(data.getvalue().decode()) == "épreuve-9 \udce9"


def test_the_handler_is_for_writing_alone() -> None:
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", ERRORS)
