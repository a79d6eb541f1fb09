"""One palette for every medium, for light and dark backgrounds.

The series' colours are those of Okabe and Ito (2008), told apart with every common kind of colour blindness, in an
order that begins with the strongest; on dark ones that are too dark there are lightened.
"""

from dataclasses import dataclass

from milepost.report.chart.model import NEUTRAL


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours as #rrggbb: background, text, faint text, grid, the series, and text on cells by `on_cell`."""

    paper: str
    ink: str
    faint: str
    grid: str
    bad: str
    series: tuple[str, ...]
    on_cells: tuple[str, str, str]

    def colour(self, number: int) -> str:
        """Return the colour of a series; after the last the first comes again.

        >>> LIGHT.colour(0) == LIGHT.colour(len(LIGHT.series)), LIGHT.colour(NEUTRAL) == LIGHT.faint
        (True, True)
        """
        return self.faint if number == NEUTRAL else self.series[number % len(self.series)]


LIGHT = Palette(
    paper="#ffffff",
    ink="#1f2328",
    faint="#656d76",
    grid="#e3e6ea",
    bad="#b3261e",
    series=("#0072b2", "#d55e00", "#009e73", "#b0609a", "#8a6d00", "#3a8fc4", "#e69f00", "#000000"),
    on_cells=("#000000", "#000000", "#ffffff"),
)
DARK = Palette(
    paper="#15181c",
    ink="#e6e9ed",
    faint="#9aa3ad",
    grid="#2c3138",
    bad="#ff8a80",
    series=("#56b4e9", "#ff8c42", "#2fc79a", "#dd9bc8", "#f0e442", "#a9c7ff", "#c08552", "#f0f0f0"),
    on_cells=("#ffffff", "#000000", "#000000"),
)
SERIES = len(LIGHT.series)
"""How many series have a colour of their own."""
DASHES = ("", "7 3", "2 2.5")
"""How lines are broken whose colour came before, as SVG writes it."""


def on_cell(shade: float) -> int:
    """Return which of `on_cells` is read on a cell of that shade of the first series' colour: a contrast of 4.5."""
    return sum(shade > step for step in (0.63, 0.92))
