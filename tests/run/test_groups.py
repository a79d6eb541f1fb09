"""Grouped data: parts end at group ends, and no number depends on where a pass was parted or resumed."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests._material import (
    Counted,
    checkpoints,
    columns_of,
    contents,
    evaluation_of,
    examples,
    go,
    linear,
    same_columns,
    weights_of,
)

import milepost.loop.evaluate
from milepost.core.protocols import Metric
from milepost.core.types import GRID, Array, Batch, Part
from milepost.data.arrays import Arrays
from milepost.data.batches import Batches
from milepost.loop.evaluate import Pass, evaluate
from milepost.loop.grid import GridCuts
from milepost.metrics._states import from_bytes
from milepost.metrics.confusion import Confusion
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.metrics.recall import Recall
from milepost.metrics.top_k import TopK
from milepost.models.numpy import FunctionModel
from milepost.scoring.records import batch_means
from milepost.store.store import Store
from milepost.tasks.classification import Classification

ROWS = 2000


def groups_of(rows: int = ROWS, seed: int = 7, most: int = 90) -> Array:
    """Groups of 1 to `most` rows, scattered over the source."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, most + 1, rows)
    return np.repeat(np.arange(rows), sizes)[:rows][rng.permutation(rows)]


def grouped(rows: int = ROWS, **more: Any) -> Arrays:
    return Arrays(*examples(rows), **{"groups": groups_of(rows), **more})


def ends_of(source: Arrays, rows: int = ROWS) -> list[int]:
    """Positions at which a group ends, found row by row."""
    here = groups_of(rows)[source.rows(np.arange(rows))].tolist()
    return [at for at in range(1, rows) if here[at] != here[at - 1]] + [rows]


def first_end(ends: list[int], position: int) -> int:
    return min(end for end in ends if end >= position)


def parts_of(source: Any, start: int, stop: int, batch_size: int = 64, **more: Any) -> list[Part]:
    work = Pass(
        model=FunctionModel(linear),
        source=source,
        task=Classification(outputs="logits"),
        kept=frozenset({"prediction", "rank", "finite"}),
        batch_size=batch_size,
        **more,
    )
    found = []
    for _, part in evaluate(work, {"one": work.model.load(weights_of(1))}, start, stop):
        assert isinstance(part, Part), part
        found.append(part)
    return found


@pytest.mark.parametrize("batch_size", [1, 7, 64, 300, 5000])
def test_a_part_ends_at_the_first_group_end_after_the_grid(monkeypatch: pytest.MonkeyPatch, batch_size: int) -> None:
    monkeypatch.setattr(milepost.loop.evaluate, "PUBLISH_ROWS", 1)  # a part as soon as one can end
    source = grouped()
    ends = ends_of(source)
    allowed = {first_end(ends, at) for at in range(0, ROWS, GRID) if at} | {0, ROWS}
    parts = parts_of(source, 0, ROWS, batch_size)
    bounds = [parts[0].start, *(part.stop for part in parts)]
    assert bounds[0] == 0
    assert bounds[-1] == ROWS
    assert set(bounds) <= allowed
    assert [part.start for part in parts] == bounds[:-1]
    if batch_size <= 64:
        assert set(bounds) == allowed
    assert any(bound % GRID for bound in bounds[1:-1])


def test_a_range_begins_and_ends_with_whole_groups() -> None:
    source = grouped()
    ends = ends_of(source)
    whole = parts_of(source, 0, ROWS)[0]
    cuts = [0, 1, 250, 256, 700, 701, 1999, 2000]
    found = [part for start, stop in pairwise(cuts) for part in parts_of(source, start, stop)]
    assert [part.stop for part in found] == sorted({first_end(ends, cut) for cut in cuts[1:]})
    joined = {name: np.concatenate([part.columns[name] for part in found]) for name in whole.columns}
    same_columns(joined, dict(whole.columns))
    assert whole.columns["data.group"].tolist() == groups_of()[source.rows(np.arange(ROWS))].tolist()
    assert whole.columns["data.row"].tolist() == source.rows(np.arange(ROWS)).tolist()


@given(st.integers(1, 700), st.integers(0, 1000), st.integers(1, 400), st.lists(st.integers(1, 699), max_size=4))
def test_states_are_the_same_however_a_pass_is_parted(rows: int, seed: int, batch: int, cuts: list[int]) -> None:
    groups = groups_of(rows, seed, most=1 + seed % 300)
    source = Arrays(*examples(rows), groups=groups, seed=seed)
    metric: Metric = Confusion()
    bounds = sorted({0, rows, *(cut for cut in cuts if cut < rows)})
    pieces = [
        part for start, stop in pairwise(bounds) for part in parts_of(source, start, stop, batch, folded=[metric])
    ]
    assert sum(part.stop - part.start for part in pieces) == rows
    states = [from_bytes(data) for part in pieces for data in part.states.values()]
    merged: Any = states[0]
    for state in states[1:]:
        merged = merged.merge(state)
    alone = parts_of(source, 0, rows, rows, folded=[metric])
    assert merged.to_bytes() == next(iter(alone[0].states.values()))


def test_engines_limits_and_resumptions_give_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, counted = checkpoints(tmp_path / "lenet", 1, 2), Counted()
    evaluation = evaluation_of(data={"test": grouped()}, metrics=[TopK(1), Confusion()], predict=counted)
    go(evaluation, folder, store=tmp_path / "one")
    monkeypatch.setattr(milepost.loop.evaluate, "PUBLISH_ROWS", 256)
    events = go(evaluation, folder, store=tmp_path / "steps", limit=500)
    end = first_end(ends_of(evaluation.data["test"]), 500)  # type: ignore[arg-type]
    assert end > 500
    assert {item["status"] for item in events.of("record")} == {f"partial {end}/{ROWS}"}
    calls = counted.calls
    again = go(evaluation, folder, store=tmp_path / "steps", limit=500)
    assert (again.done, counted.calls) == ((0, 2, 0), calls)
    go(evaluation, folder, store=tmp_path / "steps")
    one = contents(tmp_path / "one")
    assert {name: item for name, item in contents(tmp_path / "steps").items() if f".0-{end}." not in name} == one


def each_alone(weights: Mapping[str, Array], inputs: Array) -> Array:
    """Score each row by itself: matrix products round by their shapes, and by the processor."""
    return np.stack([row @ weights["w"] + weights["b"] for row in inputs])


def test_intervals_count_groups_and_are_the_same_bits_for_every_order_and_batch_size(tmp_path: Path) -> None:
    folder, found = checkpoints(tmp_path / "lenet", 1), []
    for batch_size, seed in ((64, 0), (7, 0), (300, 5)):
        data, metrics = {"test": grouped(seed=seed)}, [TopK(1), CrossEntropy(), Recall(label=1)]
        evaluation = evaluation_of(data=data, metrics=metrics, batch_size=batch_size, predict=each_alone)
        events = go(evaluation, folder, store=tmp_path / f"{batch_size}-{seed}")
        exact = [item for item in events.of("record") if item["estimator"] == "exact"]
        found.append({item["metric"]: (item["value"], item["intervals"]) for item in exact})
    assert found[0] == found[1] == found[2]
    groups, (_, labels) = groups_of(), examples(ROWS)
    every, those_of_1 = len(np.unique(groups)), len(np.unique(groups[labels == 1]))
    counts = {name: span["groups"] for name, (_, (span,)) in found[0].items()}
    assert counts == {"top1": every, "cross_entropy": every, "recall_class_1": those_of_1}
    assert those_of_1 < every


def test_batch_means_are_of_the_source_s_own_order(tmp_path: Path) -> None:
    evaluation = evaluation_of(data={"test": grouped()}, metrics=[TopK(1)])
    events = go(evaluation, checkpoints(tmp_path / "a", 1), store=tmp_path / "store")
    inputs, labels = examples(ROWS)
    right = linear(weights_of(1), inputs).argmax(1) == labels
    for size in (64, 100):
        expected = np.mean([right[begin : begin + size].mean() for begin in range(0, ROWS, size)])
        if size == 64:
            assert events.value("top1", "batch_mean") == pytest.approx(expected, abs=1e-12)
        else:  # without the source: from the rows' numbers that the pass left
            weights = events.of("record")[0]["checkpoint"]["digest"]
            made = batch_means(Store.open(tmp_path / "store"), weights, [size])
            assert made[0]["values"][0]["value"] == pytest.approx(expected, abs=1e-12)


def test_groups_of_a_stream(tmp_path: Path) -> None:
    inputs, labels = examples(ROWS)
    groups = np.sort(groups_of())

    def stream() -> Iterator[Batch]:
        for begin in range(0, ROWS, 37):
            cut = slice(begin, begin + 37)
            yield Batch(inputs[cut], labels[cut], groups=groups[cut])

    events = go(
        evaluation_of(data={"test": Batches(stream)}),
        checkpoints(tmp_path / "a", 1),
        store=tmp_path / "store",
        limit=300,
    )
    ends = [at for at in range(1, ROWS) if groups[at] != groups[at - 1]] + [ROWS]
    assert {item["n"] for item in events.of("record")} == {first_end(ends, 300)}
    assert len(columns_of(tmp_path / "store")["prediction"]) == first_end(ends, 300)


def test_one_group_is_one_part() -> None:
    source = Arrays(*examples(600), groups=np.zeros(600, np.int64))
    assert [(part.start, part.stop) for part in parts_of(source, 0, 100)] == [(0, 600)]
    assert parts_of(source, 100, 600) == []
    cuts = GridCuts(0, 100, grouped=True, size=600)
    assert cuts.asked == (0, 600)


def test_a_range_that_begins_with_a_batch_and_a_group() -> None:
    source = Arrays(*examples(640), groups=np.repeat(np.arange(10), 64))
    assert [(part.start, part.stop) for part in parts_of(source, 128, 640)] == [(128, 640)]
