"""The console of everything that is drawn in a terminal: no sign of a text steers it, whoever has drawn it."""

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from milepost.core.escaping import printable


def console_of(stream: TextIO | None = None) -> Console:
    """Return a console for a stream, by default standard output, that finds nothing to highlight by itself."""
    return _Console(file=stream, highlight=False)


class _Console(Console):
    """Draws colours and moves the cursor by rich's own segments alone."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of something drawn."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control or text.isprintable() else Segment(printable(text), style)
