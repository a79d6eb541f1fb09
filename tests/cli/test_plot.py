"""`milepost plot`: each kind of file, text without one, and clear words where something is amiss."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image
from tests.cli._runs import evaluated

from milepost.cli import main
from milepost.metrics.calibration import CalibrationError
from milepost.metrics.top_k import TopK


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    metrics = [TopK(1), CalibrationError()]
    return str(evaluated(tmp_path_factory.mktemp("plot"), 100, 900, metrics=metrics, batch_size=64))


@pytest.mark.parametrize("name", ["curve", "gap", "confusion", "classes", "reliability"])
def test_a_figure_is_text_without_a_file(place: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", name, "--store", place]) == 0
    out = capsys.readouterr().out
    assert "n = 700" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("name", ["compare", "flips"])
def test_two_checkpoints_are_drawn_together(place: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", name, "100", "900", "--store", place]) == 0
    assert "top1 on test" in capsys.readouterr().out


def test_the_end_of_the_name_says_the_kind(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ending in ("svg", "png", "pdf", "txt"):
        assert main(["plot", "curve", "--store", place, "-o", str(tmp_path / f"a.{ending}")]) == 0
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own text
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert "n = 700" in (tmp_path / "a.txt").read_text("utf-8")
    assert capsys.readouterr().out == ""


def test_an_svg_needs_no_matplotlib(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    monkeypatch.delitem(__import__("sys").modules, "milepost.report.chart.pyplot", raising=False)
    assert main(["plot", "confusion", "--store", place, "-o", str(tmp_path / "a.svg")]) == 0


def test_without_matplotlib_the_pip_line_is_given(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    monkeypatch.delitem(__import__("sys").modules, "milepost.report.chart.pyplot", raising=False)
    assert main(["plot", "curve", "--store", place, "-o", str(tmp_path / "a.png")]) == 2
    assert "pip install 'milepost[plot]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["warp"], "unknown figure 'warp'; available: classes, compare"),
        (["flips", "100"], "expected 2 checkpoints, found 1"),
        (["curve", "100"], "expected 0 checkpoints, found 1"),
        (["confusion", "100", "900"], "expected 0 or 1 checkpoints, found 2"),
        (["confusion", "77"], "no checkpoint is at '77'"),
        (["curve", "--metric", "f1"], "no curve of 'f1'"),
        (["curve", "-o", "a.doc"], "of the kind 'doc'"),
    ],
)
def test_what_is_amiss_is_named(place: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", *words, "--store", place]) == 2
    assert message in capsys.readouterr().err
