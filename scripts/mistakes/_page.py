"""The page of mistakes: every one made, in an order that can be read from top to bottom."""

import importlib.metadata
import platform
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.mistakes import averages, comparing, data, files, models, outputs
from scripts.mistakes._mistake import Mistake
from scripts.mistakes._run import Made, make

__all__ = ["ALL", "PAGE", "lacking", "make", "page", "section", "versions"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mistakes.md"
THEMES = {
    "Averages and counts": averages.MISTAKES,
    "Outputs and labels": outputs.MISTAKES,
    "Held-out data": data.MISTAKES,
    "Models and weights": models.MISTAKES,
    "Files": files.MISTAKES,
    "Choosing and comparing": comparing.MISTAKES,
}
ALL: tuple[Mistake, ...] = tuple(item for theme in THEMES.values() for item in theme)

_HEAD = """\
<!-- Written by `python -m scripts.mistakes`: do not edit. -->
# Mistakes, made twice

Each of these was made by a script when this page was written, once with the tools at hand and once with Milepost:
{versions}.

What stands below is what they printed, with folders taken out and long sentences folded. Models and data are small
and made up, so that the right number is known. Where Milepost cannot see a mistake either, it says so.

The evaluation file is in each case as in [the quick start](quickstart-pytorch.md), for `nn.Linear(10, 10)`, arrays of
images and labels, and `TopK(1)`; what is set otherwise stands beside it. `accuracy(model)` is right rows over
all rows, in evaluation mode only where the code says so. Where only a part of a command's output is shown, it is the
lines that matter.
"""


def versions() -> str:
    """Return the versions of the tools that the page is about."""
    tools = {"PyTorch": "torch", "torchmetrics": "torchmetrics", "scikit-learn": "scikit-learn", "NumPy": "numpy"}
    events = ", ".join(f"{name} {importlib.metadata.version(tool)}" for name, tool in tools.items())
    return f"{events}, on {platform.system()} {platform.machine()}"


def page(made: Sequence[tuple[Mistake, Made]]) -> str:
    """Return the whole page."""
    found = {item.title: section(item, output) for item, output in made}
    return _HEAD.format(versions=versions()) + _contents() + "".join(_themes(found))


def _contents() -> str:
    """Return a line of links for each theme."""
    lines = []
    for title, mistakes in THEMES.items():
        links = [f"[{item.title}](#{_anchor(item.title)})" for item in mistakes]
        lines.append(_wrapped(f"- **{title}**: {'; '.join(links)}.", "  "))
    return "\n" + "\n".join(lines) + "\n"


def _anchor(title: str) -> str:
    r"""Return the anchor that code hosts make of a heading.

    >>> _anchor("drop_last=True on held-out data")
    'drop_lasttrue-on-held-out-data'
    """
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _themes(found: dict[str, str]) -> Iterator[str]:
    for title, mistakes in THEMES.items():
        yield f"\n## {title}\n"
        for item in mistakes:
            yield "\n" + found[item.title]


def section(mistake: Mistake, made: Made) -> str:
    """Return one mistake as Markdown."""
    return (
        f"### {mistake.title}\n\n{_wrapped(mistake.wrong)}\n\n"
        f"{_fenced('py', mistake.habit)}\n{_fenced('text', made.habit)}\n"
        f"{_wrapped(_how(mistake))}\n\n{''.join(_asked(made))}\n"
        f"{_wrapped(f'*What to do:* {mistake.advice}')}\n"
    )


def _how(mistake: Mistake) -> str:
    settings = [] if mistake.python else mistake.file.settings()
    return f"Milepost, with {', '.join(f'`{code}`' for code in settings)}:" if settings else "Milepost:"


def _asked(made: Made) -> Iterator[str]:
    if made.milepost and not made.milepost[0][0].startswith(("milepost", ">>>")):
        code, output = made.milepost[0]
        yield _fenced("py", code) + "\n" + _fenced("text", output)
        return
    shown = "\n".join(f"{_prompted(line)}\n{output}".rstrip() for line, output in made.milepost)
    yield _fenced("console", shown)


def _prompted(line: str) -> str:
    return line if line.startswith(">>>") else f"$ {line}"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _fenced(kind: str, text: str) -> str:
    return f"```{kind}\n{text.rstrip()}\n```\n"


def lacking(mistake: Mistake, made: Made) -> list[str]:
    """Return the decisive words that were not printed; how lines are folded does not count."""
    ours = _unfolded("\n".join(output for _, output in made.milepost))
    missing = [word for word in mistake.habit_says if _unfolded(word) not in _unfolded(made.habit)]
    return missing + [word for word in mistake.milepost_says if _unfolded(word) not in ours]


def _unfolded(text: str) -> str:
    return " ".join(text.split())
