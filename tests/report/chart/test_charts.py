"""Charts in every medium: whole, safe, readable, and with nothing of a curve's extremes lost."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from milepost.errors import UsageError
from milepost.report.chart import pyplot
from milepost.report.chart.model import (
    NEUTRAL,
    Axis,
    Band,
    Bars,
    Cells,
    Chart,
    Mark,
    Panel,
    Points,
    Polyline,
    Rule,
    Shape,
    Whiskers,
)
from milepost.report.chart.palette import DARK, LIGHT, Palette, on_cell
from milepost.report.chart.sampling import fewer
from milepost.report.chart.svg import css, svg
from milepost.report.chart.text import text_lines
from milepost.report.chart.ticks import padded, ticks

SVG = "{http://www.w3.org/2000/svg}"
SHAPES: tuple[Shape, ...] = ("dot", "ring", "star", "cross", "dash")
HOSTILE = "<script>alert(1)</script>\x1b[2J & \"'"


def every_mark(label: str = "a") -> tuple[Mark, ...]:
    x, y = np.arange(4.0), np.array([0.2, np.nan, 0.9, 0.4])
    return (
        Band(x, y - 0.1, y + 0.1, 0, label),
        Polyline(x, y, 0, label),
        Polyline(x, y, 1, label, faint=True),
        *(Points(x, y, number, shape, label, (label,) * 4) for number, shape in enumerate(SHAPES)),
        Bars(x, x + 0.5, x * 0, x * 0.1, NEUTRAL, label, (label,) * 4, (label,) * 4),
        Whiskers(x, x, y - 0.1, y + 0.1, 2, label),
        Rule(x=1.0, label=label),
        Rule(y=0.5),
        Rule(),
    )


def chart_of(*marks: Mark, label: str = "a", **changes: Any) -> Chart:
    panel = Panel(Axis(label, 0, 4), Axis(label, 0, 1), marks or every_mark(label))
    return Chart(label, (panel,), (label,), **changes)


def matrix(label: str = "a") -> Chart:
    cells = Cells(np.array([[0.0, 1.0], [0.3, 0.6]]), ((label, "1"), ("2", "")), ((label, "b"), ("c", "d")))
    names = (label, "dog")
    return Chart("matrix", (Panel(Axis("p", categories=names), Axis("l", categories=names), (cells,)),), ("n = 3",))


@pytest.mark.parametrize("chart", [chart_of(label=HOSTILE), matrix(HOSTILE)], ids=["marks", "matrix"])
def test_svg_is_xml_without_anything_of_the_names_in_it(chart: Chart) -> None:
    root = ET.fromstring(svg(chart))  # noqa: S314 - our own text
    tags = {node.tag.removeprefix(SVG) for node in root.iter()}
    assert tags <= {"svg", "title", "desc", "style", "rect", "text", "path", "circle", "g"}
    assert "script" not in tags
    assert "\x1b" not in svg(chart)
    assert HOSTILE.replace("\x1b", r"\x1b") in [node.text for node in root.iter()]
    assert not [key for node in root.iter() for key in node.keys() if key.startswith("on") or key == "style"]  # noqa: SIM118


def test_svg_in_a_page_brings_no_sheet_of_its_own() -> None:
    assert "<style" not in svg(chart_of(), alone=False)
    assert "prefers-color-scheme: dark" in svg(chart_of())


def test_everything_lies_within_the_drawing() -> None:
    chart = chart_of(label="a rather long label that says much")
    root = ET.fromstring(svg(chart))  # noqa: S314 - our own text
    for node in root.iter(f"{SVG}text"):
        x, y = float(node.get("x", 0)), float(node.get("y", 0))
        assert 0 <= x <= chart.width, node.text
        assert 0 <= y <= chart.height, node.text
    for node in root.iter(f"{SVG}path"):
        numbers = [float(item) for item in re.findall(r"-?\d+(?:\.\d+)?", node.get("d", ""))]
        assert min(numbers) >= -1
        assert max(numbers) <= max(chart.width, chart.height) + 1


def test_a_line_is_interrupted_where_there_is_no_number() -> None:
    root = ET.fromstring(svg(chart_of(Polyline(np.arange(4.0), np.array([0.1, np.nan, 0.5, 0.6]), 0))))  # noqa: S314 - the same
    (line,) = [node.get("d", "") for node in root.iter(f"{SVG}path") if node.get("stroke-width") == "1.8"]
    assert line.count("M") == 2


@given(hnp.arrays(np.float64, st.integers(1, 3000), elements=st.floats(-1e6, 1e6)), st.integers(8, 400))
def test_fewer_points_keep_the_extremes_and_the_ends(y: Any, most: int) -> None:
    kept = fewer(y, most)
    assert kept[0] == 0
    assert kept[-1] == len(y) - 1
    assert y[kept].min() == y.min()
    assert y[kept].max() == y.max()
    assert len(kept) <= max(most + 4, len(y) if len(y) <= most else 0)
    assert (np.diff(kept) > 0).all()


def test_a_single_outlier_among_many_points_is_drawn() -> None:
    y = np.zeros(100_000)
    y[54_321] = 1.0
    assert 54_321 in fewer(y, 100)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 12), st.booleans(), st.booleans())
def test_ticks_lie_between_the_ends_and_differ(low: float, span: float, most: int, whole: bool, percent: bool) -> None:  # noqa: FBT001 - drawn
    axis = Axis("a", low, low + span, whole=whole, percent=percent)
    found = ticks(axis, most)
    room = span * 1e-6 + abs(low) * 1e-9
    assert len(found) <= most + 1
    assert all(low - room <= at <= low + span + room for at, _ in found)
    if abs(low) < span * 1e3:  # nearer to each other than their digits show
        assert len({text for _, text in found}) == len(found)


def test_ends_of_an_axis_hold_every_value() -> None:
    assert padded([]) == (0.0, 1.0)
    assert padded([0.5]) == pytest.approx((0.47, 0.53))
    assert padded([0.0, 1.0], floor=0.0, ceiling=1.0) == (0.0, 1.0)
    low, high = padded([float("nan"), 3.0, float("inf"), 5.0])
    assert low < 3.0
    assert high > 5.0


def test_text_fits_its_width_and_shows_every_value() -> None:
    lines = text_lines(chart_of(Polyline(np.arange(4.0), np.array([0.1, 0.2, 0.8, 0.9]), 0)), 60)
    assert max(map(len, lines)) <= 60
    assert any(0x2800 < ord(sign) <= 0x28FF for line in lines for sign in line)
    assert "\n".join(text_lines(matrix(), 60)).count("1") >= 1


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_matplotlib_draws_the_same_chart_to_the_same_bytes(tmp_path: Path, kind: str) -> None:
    for chart in (chart_of(), matrix()):
        one, other = tmp_path / f"one.{kind}", tmp_path / f"other.{kind}"
        pyplot.save(chart, str(one), kind)
        pyplot.save(chart, str(other), kind)
        assert one.read_bytes() == other.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"one.{kind}", f"other.{kind}"]


def test_a_picture_has_twice_the_pixels_of_the_chart(tmp_path: Path) -> None:
    pyplot.save(chart_of(width=500, height=300), str(tmp_path / "a.png"), "png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (1000, 600)


def test_a_kind_that_matplotlib_does_not_know_is_named_with_those_that_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"of the kind 'doc'.*pdf.*png"):
        pyplot.save(chart_of(), str(tmp_path / "a.doc"), "doc")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        pyplot.save(chart_of(), str(tmp_path / "no" / "a.png"), "png")


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_stand_out_from_the_paper_and_from_each_other(palette: Palette) -> None:
    assert contrast(palette.ink, palette.paper) >= 7
    assert contrast(palette.faint, palette.paper) >= 4.5
    assert contrast(palette.bad, palette.paper) >= 4.5
    for colour in palette.series[:-2]:
        assert contrast(colour, palette.paper) >= 3, colour
    assert len(set(palette.series)) == len(palette.series)
    apart = [np.abs(np.subtract(rgb(one), rgb(other))).sum() for one, other in combinations(palette.series, 2)]
    assert min(apart) > 60


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_is_read_on_cells_of_every_shade(palette: Palette) -> None:
    for shade in np.linspace(0, 1, 101):
        mixed = (1 - shade) * np.array(rgb(palette.paper)) + shade * np.array(rgb(palette.series[0]))
        cell = f"#{''.join(f'{round(part):02x}' for part in mixed)}"
        assert contrast(palette.on_cells[on_cell(float(shade))], cell) >= 4.5, shade


def test_long_names_that_differ_at_their_ends_stay_apart() -> None:
    names = [f"a-training-run-of-a-name-that-is-long-lr-{rate}" for rate in ("1e-3", "1e-4")]
    axis = Axis("", categories=tuple(names))
    assert len({name for _, name in ticks(axis)}) == 2


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[place : place + 2], 16) for place in (1, 3, 5))


def test_the_sheet_has_a_rule_for_each_series() -> None:
    assert all(css().count(f".mp-s{number}{{") == 2 for number in range(len(LIGHT.series)))
