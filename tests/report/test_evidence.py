"""Pairing several checkpoints by their kept rows: the same however they are cut, and never on rows that do not fit."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import checkpoints, evaluation_of, examples, go
from tests.cli._runs import evaluated

from milepost.data.arrays import Arrays
from milepost.metrics.top_k import TopK
from milepost.report._evidence import Evidence, evidence
from milepost.report._ranking import ranking_of
from milepost.store.store import Store

ROWS = 700


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    inputs, labels = examples(ROWS)
    data = {"test": Arrays(inputs, labels, groups=np.arange(ROWS) // 7, slices={"half": np.arange(ROWS) % 2})}
    return Store.open(evaluated(tmp_path_factory.mktemp("evidence"), 100, 300, 900, data=data))


def ranked(store: Store, metric: str) -> tuple[Any, ...]:
    return ranking_of(store, store.listing(), metric, None, None, "all").ranked


def found(store: Store, records: Any, part: str = "all") -> Evidence | dict[str, str]:
    return evidence(store, store.listing(), records, part, higher=records[0]["direction"] == "higher")


def paired(store: Store, records: Any, part: str = "all") -> Evidence:
    made = found(store, records, part)
    assert isinstance(made, Evidence)
    return made


def directed(records: tuple[Any, ...], metric: str) -> list[dict[str, Any]]:
    return [{**record, "direction": "lower" if metric == "cross_entropy" else "higher"} for record in records]


@pytest.mark.parametrize("metric", ["top1", "cross_entropy"])
def test_means_are_those_on_record_and_do_not_depend_on_the_cut(
    store: Store, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = directed(ranked(store, metric), metric)
    whole = paired(store, records)
    assert whole.found.means == pytest.approx([record["value"] for record in records], rel=1e-12)
    assert (whole.sample.units, whole.sample.grouped, whole.sample.shares) == (100, True, metric == "top1")
    monkeypatch.setattr("milepost.report._evidence._HELD", 0)
    monkeypatch.setattr("milepost.report._evidence._BLOCK", 37)
    monkeypatch.setattr("milepost.report._evidence.CHUNK", 128)
    monkeypatch.setattr("milepost.scoring.columns.CHUNK", 128)
    cut = paired(store, records)
    assert len(list(cut.sample.blocks())) > ROWS // 128
    assert cut.found.covariance == pytest.approx(whole.found.covariance)
    for one, other in zip(cut.ties.pairs, whole.ties.pairs, strict=True):
        assert one.p_value == pytest.approx(other.p_value)


def test_a_slice_has_its_rows_only(store: Store) -> None:
    records = directed(ranking_of(store, store.listing(), "top1", None, None, "half=1").ranked, "top1")
    half = paired(store, records, "half=1")
    assert sum(len(block.values) for block in half.sample.blocks()) == ROWS // 2


def test_rows_that_give_another_value_are_not_paired(store: Store) -> None:
    records = directed(ranked(store, "top1"), "top1")
    other = records[1]["checkpoint"]["digest"]
    changed = [records[0], {**records[1], "value": records[1]["value"] - 1 / ROWS}, records[2]]
    made = paired(store, changed)
    assert made.lacking == {other: "its kept outcomes give another value than the one on record"}
    assert [record["checkpoint"]["digest"] for record in made.records] == [
        records[place]["checkpoint"]["digest"] for place in (0, 2)
    ]
    assert made.sample.models == 2
    assert paired(store, [*records[:2], {**records[2], "value": math.inf}]).lacking == {
        records[2]["checkpoint"]["digest"]: "its value is infinite"
    }
    infinite = found(store, [{**record, "value": -math.inf} for record in records])
    assert set(infinite.values()) == {"of the best, the value is infinite"}  # type: ignore[union-attr]
    best = {**records[0], "value": 0.125}
    reasons = found(store, [best, *records[1:]])
    assert set(reasons.values()) == {  # type: ignore[union-attr]
        "of the best, the kept outcomes give another value than the one on record"
    }


def test_other_rows_and_outcomes_that_are_not_kept_are_not_paired(tmp_path: Path) -> None:
    store = evaluated(tmp_path, 100, 300)
    go(evaluation_of(ROWS), checkpoints(tmp_path / "more", 500), store=store, limit=64)
    go(evaluation_of(ROWS, metrics=[TopK(1)]), checkpoints(tmp_path / "bare", 900), store=store)
    opened = Store.open(store)
    ranking = ranking_of(opened, opened.listing(), "top1", None, None, "all")
    records = directed((*ranking.ranked, *ranking.partial), "top1")
    best = next(place for place, record in enumerate(records) if record["checkpoint"]["step"] in (100, 300))
    ordered = [records[best], *records[:best], *records[best + 1 :]]
    made = paired(opened, ordered)
    short = next(record for record in records if record["checkpoint"]["step"] == 500)
    assert made.lacking == {short["checkpoint"]["digest"]: "its outcomes are not kept on these rows"}
    assert len(made.records) == 3
