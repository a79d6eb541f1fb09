"""What `milepost --help` prints: the four verbs to start with, each with an example, then the others by purpose."""

import textwrap
from collections.abc import Iterator, Mapping

_WIDTH = 80
_EXAMPLES = {
    "run": "milepost run eval.py runs/exp7",
    "ls": "milepost ls --metric top1 --sort top1",
    "best": "milepost best --metric top1",
    "show": "milepost show step-900",
}
_GROUPS = {
    "evaluate": ("watch", "plan"),
    "look at results": ("serve", "report", "plot"),
    "ask about results": ("compare", "score", "export"),
    "find out what went wrong": ("failures", "inspect", "doctor"),
    "make room": ("gc", "forget"),
    "try it": ("demo",),
}


def grouped(description: str, verbs: Mapping[str, str]) -> str:
    """Return the help for verbs and the first lines of their help; one that no group has stands under "more".

    >>> print(grouped("Evaluates.", {"run": "Evaluate.", "new": "Be new."}).partition("start")[2])
     with
      run       Evaluate
                $ milepost run eval.py runs/exp7
    <BLANKLINE>
    more
      new       Be new
    <BLANKLINE>
    options
      --version  print the version and exit
      VERB -h    what a verb does, and its options
    <BLANKLINE>
    """
    known = {*_EXAMPLES, *(verb for group in _GROUPS.values() for verb in group)}
    groups = {"start with": tuple(_EXAMPLES), **_GROUPS, "more": tuple(verb for verb in verbs if verb not in known)}
    lines = ["usage: milepost VERB ...", "", *textwrap.wrap(description, _WIDTH)]
    for title, names in groups.items():
        there = [verb for verb in names if verb in verbs]
        lines += ["", title] * bool(there)
        for verb in there:
            lines += _lines(verb, verbs[verb])
    lines += [
        "",
        "options",
        "  --version  print the version and exit",
        "  VERB -h    what a verb does, and its options",
    ]
    return "\n".join(lines) + "\n"


def _lines(verb: str, about: str) -> Iterator[str]:
    indent = " " * 12
    text = about.rstrip(".")
    yield from textwrap.wrap(
        f"  {verb:<10}{text}", _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    if verb in _EXAMPLES:
        yield f"{indent}$ {_EXAMPLES[verb]}"
