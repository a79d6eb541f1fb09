"""Elements of SVG as text, everything escaped."""

import re
from html import escape

from milepost.core.escaping import one_line
from milepost.core.types import Array

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufffe\uffff]"
)


def element(tag: str, /, *inside: str, **attributes: str | float) -> str:
    """Return an element; `_` in an attribute's name is a hyphen, one at its end is left off.

    >>> element("text", text("a < b"), x=1.5, class_="ink")
    '<text x="1.5" class="ink">a &lt; b</text>'
    """
    shown = "".join(f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"' for name, value in attributes.items())
    return f"<{tag}{shown}>{''.join(inside)}</{tag}>" if inside else f"<{tag}{shown}/>"


def text(words: str) -> str:
    r"""Return words as text of an element; what XML cannot hold, or what turns words round, is escaped.

    >>> print(text("a\x1b[2J&"))
    a\x1b[2J&amp;
    """
    return escape(_CONTROL.sub(lambda found: one_line(found[0]), words), quote=True)


def places(x: Array, y: Array) -> str:
    """Return points as SVG writes them in paths."""
    return "L".join(f"{one:.1f},{other:.1f}" for one, other in zip(x.tolist(), y.tolist(), strict=True))


def _value(value: str | float) -> str:
    return text(value) if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
