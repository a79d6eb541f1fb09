import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store._work import KEY, made_part

from milepost.core.types import Part
from milepost.errors import StoreError, UnstableData
from milepost.store import _ranges
from milepost.store.store import Store

BOUNDS = st.tuples(st.integers(0, 30), st.integers(1, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(max_examples=150, deadline=None)
@given(st.lists(BOUNDS, max_size=7))
def test_cut_takes_every_covered_row_once(bounds: list[tuple[int, int]]) -> None:
    rows = [row for one in _ranges.cut(bounds) for row in range(one.start, one.stop)]
    assert rows == sorted({row for start, stop in bounds for row in range(start, stop)})
    assert all(one.first <= one.start < one.stop <= one.last for one in _ranges.cut(bounds))
    covered = [row for start, stop in _ranges.merged(bounds) for row in range(start, stop)]
    assert covered == rows


@settings(max_examples=150, deadline=None)
@given(st.lists(BOUNDS, max_size=7))
def test_whole_chooses_the_most_rows_that_parts_without_overlap_can(bounds: list[tuple[int, int]]) -> None:
    chosen = [(one.start, one.stop) for one in _ranges.whole(bounds)]
    assert set(chosen) <= set(bounds)
    assert not _ranges.overlapping(chosen)
    best = 0
    for mask in range(1 << len(bounds)):
        some = [pair for index, pair in enumerate(bounds) if mask >> index & 1]
        if not _ranges.overlapping(some):
            best = max(best, sum(stop - start for start, stop in some))
    assert sum(stop - start for start, stop in chosen) == best


def test_partial_coverage_reads_and_does_not_seal(tmp_path: Path) -> None:
    parts = Store.create(tmp_path / "s").evaluation(KEY).parts("kept")
    parts.publish(made_part(0, 256))
    parts.publish(made_part(512, 600))
    assert not parts.publish(made_part(0, 256))
    assert parts.coverage() == [(0, 256), (512, 600)]
    assert not parts.seal(600)
    reader = parts.read()
    assert reader.names == ["label", "nll"]
    assert reader.take("label", np.array([599, 3, 512])).tolist() == [9, 3, 2]
    assert reader.slice("label", 10, 10).tolist() == []
    with pytest.raises(StoreError, match="not covered"):
        reader.slice("label", 200, 520)
    with pytest.raises(StoreError, match="not covered"):
        reader.take("label", np.array([300]))
    with pytest.raises(StoreError, match="no column 'rank'"):
        reader.slice("rank", 0, 1)


def test_a_reader_survives_a_seal_under_its_hands(tmp_path: Path) -> None:
    parts = Store.create(tmp_path / "s").evaluation(KEY).parts("kept")
    for start in (0, 500):
        parts.publish(made_part(start, start + 500, {"m": bytes([start // 500])}))
    reader = parts.read()
    states = reader.states("m")
    assert next(states) == b"\0"
    assert parts.seal(1000)
    assert list(states) == [b"\1"]
    assert reader.slice("label", 490, 510).tolist() == [row % 10 for row in range(490, 510)]
    assert list(parts.read().states("m")) == [b"\0", b"\1"]


def test_states_are_never_counted_twice(tmp_path: Path) -> None:
    parts = Store.create(tmp_path / "s").evaluation(KEY).parts("kept")
    for start, stop in ((0, 600), (400, 1000), (0, 400)):
        parts.publish(made_part(start, stop, {"m": f"{start}-{stop}".encode()}))
    assert parts.coverage() == [(0, 1000)]
    assert list(parts.read().states("m")) == [b"0-400", b"400-1000"]
    assert parts.seal(1000)
    assert list(parts.read().states("m")) == [b"0-400", b"400-1000"]


def test_states_that_cannot_tile_leave_a_hole(tmp_path: Path) -> None:
    parts = Store.create(tmp_path / "s").evaluation(KEY).parts("kept")
    for start, stop in ((0, 600), (400, 1000)):
        parts.publish(made_part(start, stop, {"m": b"x"}))
    assert parts.coverage() in ([(0, 600)], [(400, 1000)])
    assert not parts.seal(1000)


def test_environments_are_distinct_and_counted(tmp_path: Path) -> None:
    parts = Store.create(tmp_path / "s").evaluation(KEY).parts("kept")
    for start, device in ((0, "cpu"), (100, "cuda"), (200, "cpu")):
        environment = {"device": device, "timings": {"model": 0.5}}
        parts.publish(Part(start, start + 100, {"x": np.zeros(100)}, {}, environment))
    expected = [
        {"device": "cpu", "rows": 200, "timings": {"model": 1.0}},
        {"device": "cuda", "rows": 100, "timings": {"model": 0.5}},
    ]
    assert parts.read().environments() == expected
    assert parts.seal(300)
    assert parts.read().environments() == expected


def test_bad_parts_are_refused(tmp_path: Path) -> None:
    parts = Store.create(tmp_path / "s").evaluation(KEY).parts("kept")
    with pytest.raises(StoreError, match="found shape"):
        parts.publish(Part(0, 5, {"x": np.zeros(4)}))
    with pytest.raises(StoreError, match="at least one row"):
        parts.publish(Part(5, 5, {}))
    parts.publish(Part(0, 5, {"x": np.zeros(5)}))
    parts.publish(Part(5, 9, {"x": np.zeros(4, np.float32)}))
    with pytest.raises(StoreError, match="float32, elsewhere float64"):
        parts.seal(9)


def test_memory_of_a_seal_does_not_grow_with_rows(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    peaks = []
    for key, rows in (("a" * 32, 50_000), ("b" * 32, 400_000)):
        parts = store.evaluation(key).parts("kept")
        for start in range(0, rows, rows // 4):
            columns = {name: np.zeros(rows // 4) for name in ("x", "y")}
            parts.publish(Part(start, start + rows // 4, columns))
        tracemalloc.start()
        assert parts.seal(rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 6_000_000  # the columns are 6.4 MB


def test_dataset_pieces_widen_text_and_must_agree(tmp_path: Path) -> None:
    data = Store.create(tmp_path / "s").dataset("d" * 32)
    assert data.read().names == []
    assert data.add(0, 2, {"ids": np.array(["a", "b"]), "labels": np.array([1, 2])})
    assert data.add(2, 3, {"ids": np.array(["long"]), "labels": np.array([3])})
    assert not data.add(0, 2, {"ids": np.array(["a", "b"]), "labels": np.array([1, 2])})
    for _ in range(2):
        assert data.read().slice("ids", 0, 3).tolist() == ["a", "b", "long"]
        with pytest.raises(UnstableData, match=r"position 1 of the order: labels was .*2.*, is now .*7"):
            data.check(1, 3, {"labels": np.array([7, 8])})
        data.check(0, 9, {"labels": np.array([1, 2, 3, 4, 5, 6, 7, 8, 9]), "new": np.zeros(9)})
        assert data.seal(3)
    assert data.write_spec({"kind": "arrays", "size": 3})
    assert not data.add(0, 3, {"labels": np.array([1, 2, 3])})
    assert data.spec() == {"kind": "arrays", "size": 3}
    with pytest.raises(UnstableData, match="position 2"):
        data.add(0, 3, {"labels": np.array([1, 2, 4])})
