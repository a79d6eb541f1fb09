"""How Sphinx makes the site; scripts/make_site.py lays its pages out and calls it."""

import re
import sys
from typing import get_type_hints

from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

project = "Milepost"
copyright = "the Milepost authors"  # noqa: A001 - Sphinx's name
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
html_theme = "furo"
html_title = "Milepost"
html_show_sourcelink = False

# Docstrings set names in single backticks; they are literal.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
myst_heading_anchors = 3

_BAR = re.compile(r"\|(?=(?:[^`]*`[^`]*`)*[^`]*$)")  # outside backticks
_UNPACK = re.compile(r"\*\*\w+: ~?[\w.]*Unpack\[~?[\w.]*?(?P<name>\w+)\]")


def setup(app: Sphinx) -> None:
    """Have docstrings read as they are meant."""
    app.connect("autodoc-process-docstring", _escape_bars)
    app.connect("autodoc-process-signature", _list_options)


def _escape_bars(_app: Sphinx, _what: str, _name: str, _item: object, _options: object, lines: list[str]) -> None:
    """Keep |x| of a formula: to Sphinx it would be a substitution."""
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else _BAR.sub(r"\\|", line) for line in lines]


def _list_options(  # noqa: PLR0913, PLR0917 - as Sphinx calls it
    _app: Sphinx, _what: str, _name: str, item: object, _options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Name the options of a TypedDict, which `**more: Unpack[Extras]` hides."""
    found = _UNPACK.search(signature or "")
    if found is None:
        return signature, returns
    module = sys.modules[item.__module__]
    hints = get_type_hints(vars(module)[found["name"]])
    named = ", ".join(f"{name}: {stringify_annotation(hint, 'smart')} = ..." for name, hint in hints.items())
    return _UNPACK.sub(named, signature or ""), returns
