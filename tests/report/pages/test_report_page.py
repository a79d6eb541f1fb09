"""The report: one file that loads nothing, whatever the names in it are, and says every value that the store holds."""

import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests._material import CLASSES, checkpoints, evaluation_of, examples, go

import milepost
from milepost.cli import main
from milepost.core.types import Identity
from milepost.data.arrays import Arrays
from milepost.metrics.calibration import CalibrationError
from milepost.metrics.confusion import Confusion
from milepost.metrics.top_k import TopK
from milepost.report.chart.sparkline import spark_svg, spark_text
from milepost.report.pages.blocks import Block, Facts, Fold, Grid, Heading, Page, PageCell, Paragraph
from milepost.report.pages.html_page import page_html
from milepost.report.pages.markdown import page_markdown
from milepost.report.pages.report_page import report_page
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.store import Store

VOID = {"meta", "br", "wbr", "img", "hr"}
HOSTILE = "<img src=x onerror=alert(1)> [a](javascript:b) `c` | ~~~~ @user #1 <!-- {{ \x1b[2J"


class Loaded(HTMLParser):
    """What a page has: open elements, links, anchors, and everything that could load or run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loads: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.links += [str(given["href"])] if "href" in given else []
        self.anchors |= {str(given["id"])} if "id" in given else set()
        self.loads += [tag] * (tag in {"script", "link", "iframe", "img", "object", "form"})
        self.loads += [f"{tag} {name}" for name in given if name.startswith("on") or name in {"src", "style"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def blocks_with(words: str) -> Iterable[Block]:
    grid = Grid([words], [[PageCell(words)], [PageCell(words, href="#a", tone="bad")]], [False], words)
    return (Heading(words, 1), Paragraph(words), Facts([(words, words)]), grid, Fold(words, (Paragraph(words),)))


@given(st.text() | st.just(HOSTILE))
def test_html_holds_any_text_as_text(words: str) -> None:
    held = Loaded(page_html(Page(words, tuple(blocks_with(words)))))
    assert not held.open
    assert not held.loads
    assert held.links == ["#a"]


@given(st.text(alphabet="<>[]()`|~@#!&*_\\ab\n\r-", max_size=40) | st.just(HOSTILE))
def test_markdown_holds_any_text_as_text(words: str) -> None:
    lines = page_markdown(Page("a", tuple(blocks_with(words)))).splitlines()
    plain = [re.sub(r"\\.", "", line) for line in lines]
    loose = [line for line in plain if not line.startswith(("<details>", "<summary>", "</details>"))]
    assert not [line for line in loose if re.search(r"[<>`]|!\[|\]\(|@(?!\u200b)", line)]
    cells = {line.count("|") for line in loose if line.startswith("|")}
    assert cells <= {2, 3}, "a name ended a cell"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    inputs, labels = examples(300)
    names = [f"<b>{number}" for number in range(CLASSES)]
    data = {
        name: Arrays(inputs, labels, class_names=names, slices={"half": np.arange(300) % 2})
        for name in ("clean", "noisy")
    }
    evaluation = evaluation_of(data=data, metrics=[TopK(1), CalibrationError(), Confusion()], batch_size=64)
    for run in ("lenet", "wide"):
        runs = checkpoints(folder / run, 100, 300, 900)
        (runs / "step-500.pt").write_bytes(bytes(range(256)) * 8)
        go(evaluation, runs, store=folder / "evals")
    return folder / "evals"


def test_the_report_is_one_file_that_loads_nothing_and_whose_links_lead_somewhere(place: Path, tmp_path: Path) -> None:
    assert main(["report", "-o", str(tmp_path / "a.html"), "--store", str(place)]) == 0
    text = (tmp_path / "a.html").read_text("utf-8")
    held = Loaded(text)
    assert not held.open
    assert not held.loads
    assert held.links
    assert {link.removeprefix("#") for link in held.links} <= held.anchors
    assert "http" not in text.replace("http-equiv", "")
    assert "Content-Security-Policy" in text


def test_the_report_says_every_value_and_every_failure(place: Path) -> None:
    for text in (
        "".join(Loaded(page_html(report_page(Store.open(place)))).words),
        page_markdown(report_page(Store.open(place))).replace("\\", ""),
    ):
        for record in milepost.open_store(place).records(part="all"):
            if record["estimator"] == "exact" and record.get("headline") is not False:
                assert f"{record['value']:.3f}" in text
        assert "corrupt" in text or "unsupported" in text
        assert "step-500.pt" in text
        best = milepost.open_store(place).best("top1", data="clean")
        assert f"best by top1: {best.best['label']}" in text


def test_the_pages_in_full_are_as_many_as_asked_the_best_first(place: Path) -> None:
    page = report_page(Store.open(place), pages=2)
    full = [block.text for block in page.blocks if isinstance(block, Heading) and block.anchor.startswith("c-")]
    assert len(full) == 2
    assert full[0] == milepost.open_store(place).best("top1", data="clean").best["label"]
    none = report_page(Store.open(place), pages=0)
    assert not [block for block in none.blocks if isinstance(block, Heading) and block.anchor.startswith("c-")]


def test_one_run_alone(place: Path) -> None:
    text = page_html(report_page(Store.open(place), "wide"))
    assert "Milepost report on wide" in text
    assert "lenet" not in text


def test_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    text = page_html(report_page(Store.create(tmp_path / "evals")))
    assert "milepost run EVAL.py CKPTS" in "".join(Loaded(text).words)


def test_markdown_goes_to_standard_output(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--markdown", "--pages", "0", "--store", str(place)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# Milepost report\n")
    assert "~~~~text" in out


@pytest.mark.usefixtures("nothing_is_forced")
def test_a_report_on_500_checkpoints_is_below_3_mb(tmp_path: Path, place: Path) -> None:
    store = Store.create(tmp_path / "evals")
    run = store.run_of(tmp_path / "long")
    model = Store.open(place)
    key = next(iter(model.evaluations()))
    payloads = [item for item in model.evaluation(key).results.read()]  # noqa: C416 - read once
    for step in range(500):
        digest = f"{step:064x}"
        identity = Identity(1, step, 100, 1, 1)
        path = str(tmp_path / "long" / f"step-{step}.pt")
        record = CheckpointRecord(run, path, identity, f"step-{step}", step=step, digest=digest, seen="2026-01-01")
        store.add_checkpoint(record)
        folder = store.evaluation(digest[-32:])
        folder.describe({"weights": digest, "code": "c0de", "data_name": "clean", "data": "d" * 32})
        folder.results.publish([(payload, {}) for payload in payloads])
    text = page_html(report_page(store))
    assert text.count("step-499") >= 2
    assert len(text.encode()) < 3_000_000


def test_a_small_curve_keeps_its_order_and_its_extremes() -> None:
    assert spark_text([]) == ""
    assert spark_text([1.0] * 3) == "▁▁▁"
    assert spark_text(list(range(100)))[-1] == "█"
    assert spark_svg([], "a") == ""
    assert "<title>&lt;a&gt;</title>" in spark_svg([1.0, float("nan"), 2.0], "<a>")
