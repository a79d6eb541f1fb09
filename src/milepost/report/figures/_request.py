"""What a figure is asked to show, and what all figures say."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from milepost.report.chart.model import Chart
from milepost.store.store import Store


@dataclass(frozen=True, slots=True)
class FigureRequest:
    """What the user named: a metric's value, a data set, a run, a set of weights, a slice, and checkpoints' addresses.

    None, or no address, leaves the choice to the figure.
    """

    metric: str | None = None
    data: str | None = None
    run: str | None = None
    variant: str | None = None
    part: str = "all"
    addresses: tuple[str, ...] = ()


class Figure(Protocol):
    """Data that were read for one figure.

    `needs` is how many addresses it takes at least and at most, `takes_metric` whether it shows a metric of choice.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[int, int]]
    takes_metric: ClassVar[bool]

    @classmethod
    def of(cls, store: Store, asked: FigureRequest) -> Self:
        """Read the data; a UsageError says what is not there, and what is."""
        ...

    def chart(self) -> Chart:
        """Return what is to be drawn."""
        ...
