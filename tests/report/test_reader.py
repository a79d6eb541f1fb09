"""A store read from Python: the same numbers as the verbs print, kept columns by natural row, safe HTML."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import CLASSES, checkpoints, evaluation_of, examples, go
from tests.report.samples import checkpoint, record

import milepost
from milepost.errors import MissingExtra, StoreError, UsageError
from milepost.report.html import table_html
from milepost.report.table import build
from milepost.scoring.flat_record import flat_record


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reading")
    runs = checkpoints(folder / "lenet", 100, 900)
    (runs / "noise.pt").write_bytes(bytes(range(256)) * 8)
    go(evaluation_of(), runs, store=folder / "evals")
    go(evaluation_of(), checkpoints(folder / "part", 7), store=folder / "evals", limit=50)
    return folder / "evals"


def test_records_and_checkpoints(place: Path) -> None:
    store = milepost.open_store(place)
    assert {item["metric"] for item in store.records()} == {"top1", "top5", "cross_entropy"}
    assert {item["metric"] for item in store.records(metric="top1", run="lenet")} == {"top1"}
    assert len(store.checkpoints()) == 4
    assert [row["state"] for row in store.checkpoints("lenet")].count("failed") == 1
    assert repr(store) == f"<milepost store at {place}>"
    assert "step-900" in str(store)


def test_best_and_compare_are_those_of_the_verbs(place: Path) -> None:
    store = milepost.open_store(str(place))
    best = store.best("top1")
    values = [r["value"] for r in store.records(metric="top1") if r["estimator"] == "exact" and r["status"] == "ok"]
    assert best.best["value"] == max(values)
    assert [item["status"] for item in best.ranking.partial] == ["partial 50/700"]
    found = store.compare(100, "lenet:900")
    assert found.value_a in values
    assert found.n == 700


def test_columns_stand_in_natural_order(place: Path) -> None:
    store = milepost.open_store(place)
    columns = store.columns(900)
    _, labels = examples(700)
    np.testing.assert_array_equal(columns["row"], np.arange(700))
    np.testing.assert_array_equal(columns["label"], labels)
    right = np.count_nonzero(columns["prediction"] == labels)
    (top1,) = [
        r["numerator"] for r in store.records(metric="top1")
        if r["estimator"] == "exact" and r["checkpoint"]["step"] == 900
    ]  # fmt: skip
    assert right == np.count_nonzero(columns["rank"] == 0) == top1
    assert columns["prediction"].max() < CLASSES


def test_columns_of_a_part_name_their_rows(place: Path) -> None:
    columns = milepost.open_store(place).columns("part:7")
    _, labels = examples(700)
    assert len(columns["row"]) == len(columns["rank"]) == 50
    assert (np.diff(columns["row"]) > 0).all()
    np.testing.assert_array_equal(columns["label"], labels[columns["row"]])


def test_what_is_not_there_is_an_error(place: Path, tmp_path: Path) -> None:
    store = milepost.open_store(place)
    with pytest.raises(UsageError, match="no outcomes of this checkpoint are kept; it is failed"):
        store.columns("noise.pt")
    with pytest.raises(UsageError, match="there are: test"):
        store.columns(900, data="other")
    with pytest.raises(UsageError, match="is no run of this store"):
        store.records(run="nowhere")
    with pytest.raises(StoreError, match="expected a store"):
        milepost.open_store(tmp_path)


def test_without_pandas_the_error_has_the_pip_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"pip install 'milepost\[pandas\]'"):
        milepost.open_store(place).to_pandas()


def test_with_pandas_every_record_is_a_row(place: Path) -> None:
    pandas: Any = pytest.importorskip("pandas", reason="pandas is an extra")
    store = milepost.open_store(place)
    made = store.to_pandas_long()
    assert isinstance(made, pandas.DataFrame)
    assert len(made) == len(store.records())
    exact = made[(made.metric == "top1") & (made.estimator == "exact")].set_index("step")
    assert exact.loc[900, "value"] == exact.loc[900, "numerator"] / 700
    assert exact.loc[900, "low"] < exact.loc[900, "value"] < exact.loc[900, "high"]
    assert str(made["batch_size"].dtype) == "Int64"


def test_flat_keeps_infinite_and_undefined_values() -> None:
    assert flat_record(record(100, "cross_entropy", None))["value"] is None
    assert flat_record({**record(100, "cross_entropy", None), "value": "-inf"})["value"] == float("-inf")
    assert flat_record(record(100, "top1", 0.5))["high"] == 0.505
    clustered = record(100, "top1", 0.5)
    clustered["intervals"][0] |= {"effective_n": 88.5, "groups": 9, "note": "too few groups"}
    row = flat_record({**clustered, "note": "first"})
    assert (row["effective_n"], row["groups"], row["note"]) == (88.5, 9, "first; too few groups")
    assert flat_record(record(100, "top1", 0.5))["groups"] is None


class Tags(HTMLParser):
    """Collects the tags and the attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_escapes_what_files_are_called() -> None:
    evil = "<script>alert('&')</script>"
    row = checkpoint(100, evil)
    failure = {"kind": "corrupt", "message": f'{evil} "quoted"'}
    page = table_html(build([record(100, "top1", 0.5)], [row, {**row, "digest": None, "failure": failure}]), evil)
    found = Tags(page)
    assert found.tags == {"div", "table", "thead", "tbody", "tr", "th", "td", "p"}
    assert found.attributes == {"style"}
    assert found.text.count(evil) == 5  # both names, the failure with its name, the remark
    assert not re.search(r"https?:|src=|href=|on\w+=", page.replace(evil, ""))


def test_notebooks_show_the_table(place: Path) -> None:
    shown = Tags(milepost.open_store(place)._repr_html_())
    assert {"table", "td"} <= shown.tags
    for piece in ("step-900", "partial 50/700", "corrupt", "top1"):
        assert piece in shown.text
    results = evaluation_of().run(str(place.parent / "lenet"), store=str(place))
    assert Tags(results._repr_html_()).text.count("step-") == 2


def test_a_store_of_many_shows_the_newest(tmp_path: Path) -> None:
    go(evaluation_of(40), checkpoints(tmp_path / "long", *range(1, 56)), store=tmp_path / "evals", per_pass=16)
    page = milepost.open_store(tmp_path / "evals")._repr_html_()
    assert page.count("<tr>") == 51
    assert "the newest 50 of 55 checkpoints" in page


def test_a_prompt_shows_the_text_of_best_and_compare(place: Path) -> None:
    store = milepost.open_store(place)
    for found in (store.best("top1", run="lenet"), store.compare("lenet:100", "lenet:900")):
        assert repr(found) == str(found)
        assert "step-900" in repr(found)
