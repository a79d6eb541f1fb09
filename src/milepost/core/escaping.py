r"""Names as people see them: one printed form, from which the exact name comes back.

A name is bytes, whatever its file system allows; as text it is what `os.fsdecode` makes of them.  Its printed form has
no sign that steers a terminal, ends a line or cannot be encoded: each byte of such a sign is `\xNN`.  A backslash
stays as it is, unless it would read as such an escape: then it is `\x5c`.  A space at either end, or after another one,
is `\x20`: it would be lost in a table.  So nearly every name is its own printed form.
"""

import codecs
import re
from collections.abc import Callable
from typing import cast

_BACKSLASH = re.compile(r"\\(?=x[0-9a-f]{2}|ud[89a-f][0-9a-f]{2})")
_SPACE = re.compile(r"^ | $|(?<= ) ")
_BYTES = re.compile(r"(?:\\x[0-9a-f]{2})+")
_SURROGATE = re.compile(r"\\u(d[89a-f][0-9a-f]{2})|([\ud800-\udc7f\udd00-\udfff])")
_INDENT = "  "


def escaped(name: str) -> str:
    r"""Return the printed form of a name: one line of printable signs, of which `unescaped` makes the name again.

    >>> print(escaped("step-9.pt"), escaped("caf\udce9\n.pt"), escaped("\u202egnp"), escaped(r"a\b"), escaped(r"a\x41"))
    step-9.pt caf\xe9\x0a.pt \xe2\x80\xaegnp a\b a\x5cx41
    """
    if "\\" in name:
        name = _BACKSLASH.sub(r"\\x5c", name)
    if "  " in name or name[:1] == " " or name[-1:] == " ":
        name = _SPACE.sub(r"\\x20", name)
    return name if name.isprintable() else "".join(map(_sign, name))


def unescaped(text: str) -> str:
    r"""Return the name whose printed form a text is; a text without escapes is its own name.

    >>> unescaped(r"caf\xe9.pt") == "caf\udce9.pt", unescaped(r"caf\xc3\xa9.pt") == "café.pt", unescaped(r"a\x5cx41")
    (True, True, 'a\\x41')
    """
    if "\\" not in text:
        return text
    pieces = _SURROGATE.split(text)  # text, then the digits of a surrogate or the surrogate itself
    named = zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True)
    return _decoded(pieces[0]) + "".join((sign or chr(int(code, 16))) + _decoded(rest) for code, sign, rest in named)


def printable(text: str) -> str:
    r"""Return lines of text without any other sign that steers a terminal or cannot be encoded; tabs stay.

    It is for texts that hold names: in these, what looks like an escape may have stood in the name.

    >>> print(printable("step-1\x1b[2J.pt: torn"))
    step-1\x1b[2J.pt: torn
    """
    return text if text.isprintable() else "".join(sign if sign in "\n\t" else _sign(sign) for sign in text)


def one_line(text: str) -> str:
    r"""Return a text as one line of printable signs.

    >>> print(one_line("done: step-9\ndone: step-10"))
    done: step-9\x0adone: step-10
    """
    return text if text.isprintable() else "".join(map(_sign, text))


def message(text: str) -> str:
    r"""Return a message as printable lines, all but the first indented, so that none looks like another message.

    >>> print(message("error: a\ndone: b"))
    error: a
      done: b
    """
    first, *others = printable(text).split("\n")
    return "\n".join([first, *(line if line.startswith(_INDENT) else f"{_INDENT}{line}".rstrip() for line in others)])


ERRORS = "milepost-escape"
"""The error handler of a stream, which writes what its encoding lacks as the printed form of it."""


def _lacking(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_bytes_of, error.object[error.start : error.end])), error.end


# The library types a handler's answer for both directions, of which this one is for writing alone.
codecs.register_error(ERRORS, cast("Callable[[UnicodeError], tuple[str | bytes, int]]", _lacking))


def _sign(sign: str) -> str:
    return sign if sign.isprintable() else _bytes_of(sign)


def _bytes_of(sign: str) -> str:
    try:
        return "".join(f"\\x{byte:02x}" for byte in sign.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # half of a pair, as JSON can spell it: no bytes stand for it
        return f"\\u{ord(sign):04x}"


def _decoded(text: str) -> str:
    def of(found: re.Match[str]) -> str:
        return bytes.fromhex(found[0].replace("\\x", "")).decode("utf-8", "surrogateescape")

    if "\\" not in text:
        return text
    # The bytes beside an escape may belong to the same sign, so that the whole is decoded again.
    return _BYTES.sub(of, text).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
