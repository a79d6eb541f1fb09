"""From kept columns to records, through a real store and without a model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import checkpoints, evaluation_of, go

from milepost._internal.serialization import digest
from milepost.core.protocols import Metric
from milepost.core.specs import spec_of
from milepost.core.types import Array, Json, Part
from milepost.data._order import make_order
from milepost.data.arrays import Arrays
from milepost.errors import StoreError, UsageError
from milepost.metrics import CalibrationError, Confusion, CrossEntropy, TopK
from milepost.scoring.columns import Scored, scored_of
from milepost.scoring.estimators import batch_mean, exact, oddities, record_of
from milepost.scoring.records import batch_means, records
from milepost.store.store import Store
from milepost.tasks import Classification

KEY, DATA, WEIGHTS = "ab" * 16, "cd" * 16, "ef" * 16
NO_RANK = 2**31 - 1
METRICS: tuple[Metric, ...] = (TopK(1), TopK(5), CrossEntropy(), CalibrationError(), Confusion())


@dataclass(frozen=True)
class Layout:
    """How a pass over the same rows went: its order and where its parts were cut."""

    order: str = "natural"
    seed: int = 0
    cuts: tuple[int, ...] = ()
    sealed: bool = False


def put_data(store: Store, columns: dict[str, Array], order: dict[str, Json]) -> None:
    size = len(next(iter(columns.values())))
    dataset = store.dataset(DATA)
    dataset.write_spec({"size": size, "order": order})
    dataset.add(0, size, columns)
    dataset.seal(size)


def kept(folder: Path, natural: Mapping[str, Array], layout: Layout, covered: int | None = None) -> Scored:
    """Write a store as a pass in this layout leaves it (columns given in the source's own order), and open it."""
    size = len(next(iter(natural.values())))
    described = {"kind": layout.order, "seed": layout.seed}
    rows = make_order(layout.order, size, layout.seed).rows(np.arange(size))
    shared = {name: natural[name][rows] for name in ("label", "weight") if name in natural}
    own = {name: item[rows] for name, item in natural.items() if name not in ("label", "weight")}
    store = Store.create(folder / "evals")
    put_data(store, shared or {"id": rows}, described)
    evaluation = store.evaluation(KEY)
    evaluation.describe({"weights": WEIGHTS, "data": DATA, "data_name": "test"})
    stop = size if covered is None else covered
    parts = evaluation.parts("kept")
    for low, high in pairwise([0, *layout.cuts, stop]):
        parts.publish(Part(low, high, {name: item[low:high] for name, item in own.items()}))
    assert not layout.sealed or parts.seal(stop)
    return scored_of(store, KEY, "kept", stop)


def headline(record: Mapping[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = record["values"][0]
    return first


def exactly(scored: Scored, metric: Metric) -> dict[str, Any]:
    return {**record_of(scored, metric, spec_of(metric)), "values": exact(scored, metric)[0]}


def by_batches(scored: Scored, metric: Metric, size: int) -> dict[str, Any]:
    values = batch_mean(scored, metric, size, exact(scored, metric)[0])
    return {**record_of(scored, metric, spec_of(metric), size), "values": values}


def made(rows: int, seed: int = 0) -> dict[str, Array]:
    task = Classification(outputs="logits")
    random = np.random.default_rng(seed)
    labels = random.integers(0, 7, rows)
    columns = task.reduce(random.normal(size=(rows, 7)), labels, frozenset(task.columns()))
    return {**columns, "label": labels}


def right_of_360() -> dict[str, Array]:
    """298 of the first 359 rows right, and the last."""
    right = np.random.default_rng(1).permutation(np.arange(359) < 298)
    return {"rank": np.where([*right, True], 0, 3).astype(np.int32)}


# ------------------------------------------------------------------------------------------------ 299 of 360, measured


def test_the_exact_accuracy_and_its_interval(tmp_path: Path) -> None:
    scored = kept(tmp_path, right_of_360(), Layout())
    record, (_, tables) = exactly(scored, TopK(1)), exact(scored, TopK(1))
    found = headline(record)
    assert (found["numerator"], found["denominator"], found["n"], found["value"]) == (299, 360, 360, 299 / 360)
    [interval] = found["intervals"]
    assert interval["low"] < 299 / 360 < interval["high"]
    assert (interval["method"], interval["kind"], interval["level"]) == ("wilson", "population", 0.95)
    assert (record["estimator"], record["batch_size"], record["status"], tables) == ("exact", None, "ok", {})


@pytest.mark.parametrize(
    ("size", "batches", "last_rows"),
    [(359, 2, 1), (36, 10, 36), (64, 6, 40), (100, 4, 60), (1, 360, 1), (360, 1, 360), (999, 1, 360)],
)
def test_the_batch_mean_and_where_its_gap_comes_from(size: int, batches: int, last_rows: int, tmp_path: Path) -> None:
    rows = right_of_360()
    scored = kept(tmp_path, rows, Layout(order="seeded", seed=5, cuts=(17, 256)))
    found = headline(by_batches(scored, TopK(1), size))
    right = (rows["rank"] == 0).tolist()
    shares = [Fraction(sum(right[at : at + size]), len(right[at : at + size])) for at in range(0, 360, size)]
    true = sum(shares) / len(shares)
    assert found["value"] == pytest.approx(float(true), rel=1e-15)
    gap = found["gap"]
    assert (gap["batches"], gap["last_rows"]) == (batches, last_rows)
    assert gap["value"] == found["value"] - 299 / 360
    assert gap["closed_form"] == pytest.approx(float(true - Fraction(299, 360)), abs=1e-15)
    assert (found["intervals"], found["numerator"], found["n"]) == ([], None, 360)


def test_batches_of_359_worked_out(tmp_path: Path) -> None:
    scored = kept(tmp_path, right_of_360(), Layout())
    found = headline(by_batches(scored, TopK(1), 359))
    assert round(found["value"], 6) == 0.915042
    gap = found["gap"]
    assert (gap["last"], gap["full"]) == (1.0, 298 / 359)
    assert gap["closed_form"] == (1 / 2 - 1 / 360) * (1 - 298 / 359)
    assert gap["value"] == pytest.approx(gap["closed_form"], abs=1e-15)


def test_equal_batches_have_no_gap_of_a_mean_and_one_of_calibration(tmp_path: Path) -> None:
    scored = kept(tmp_path, made(360), Layout())
    for metric in (TopK(1), CrossEntropy()):
        gap = headline(by_batches(scored, metric, 36))["gap"]
        assert gap["closed_form"] == 0.0
        assert abs(gap["value"]) < 1e-15
    gap = headline(by_batches(scored, CalibrationError(), 36))["gap"]
    assert abs(gap["value"]) > 1e-3
    assert "closed_form" not in gap


# ------------------------------------------------------------------------------- the same digits, however the pass went


LAYOUTS = [
    Layout(),
    Layout(cuts=(256,)),
    Layout(cuts=tuple(range(1, 700, 37)), sealed=True),
    Layout("seeded", 0, (512,)),
    Layout("seeded", 9, (3, 5, 699), sealed=True),
]


@pytest.mark.parametrize("weighted", [False, True])
def test_records_do_not_depend_on_order_and_parts(weighted: bool, tmp_path: Path) -> None:
    rows = made(700)
    if weighted:
        rows["weight"] = np.random.default_rng(3).random(700) + 0.01
    found = []
    for number, layout in enumerate(LAYOUTS):
        scored = kept(tmp_path / str(number), rows, layout)
        found.append(
            [(record, {k: v.tolist() for k, v in t.items()}) for record, t in records(scored, METRICS, (64, 699))]
        )
    assert len(found[0]) == 15
    for other in found[1:]:
        np.testing.assert_equal(other, found[0])  # equal, with NaN equal to NaN


@pytest.mark.parametrize("metric", METRICS, ids=str)
def test_the_exact_value_is_that_of_all_rows_at_once(metric: Metric, tmp_path: Path) -> None:
    rows = made(300)
    record = exactly(kept(tmp_path, rows, Layout("seeded", 2, (100,))), metric)
    expected = metric.values(metric.state(rows, None))
    assert {item["metric"]: item["value"] for item in record["values"]} == {k: v.value for k, v in expected.items()}


def test_a_prefix_is_scored_as_if_its_rows_were_all(tmp_path: Path) -> None:
    rows = made(700)
    scored = kept(tmp_path, rows, Layout("seeded", 4, (256,)), covered=512)
    record = exactly(scored, TopK(1))
    natural = np.sort(make_order("seeded", 700, 4).rows(np.arange(512)))
    right = rows["rank"][natural] == 0
    assert (record["status"], record["coverage"], record["size"]) == ("partial 512/700", [[0, 512]], 700)
    assert headline(record)["numerator"] == np.count_nonzero(right)
    mean = headline(by_batches(scored, TopK(1), 100))["value"]
    shares = [Fraction(int(sum(part)), len(part)) for part in np.split(right, range(100, 512, 100))]
    assert mean == pytest.approx(float(sum(shares) / len(shares)), rel=1e-15)


def test_weights_count_and_leave_no_closed_form(tmp_path: Path) -> None:
    rows = {"rank": np.array([0, 1, 0], np.int32), "weight": np.array([0.5, 2.0, 1.5])}
    scored = kept(tmp_path, rows, Layout("seeded", 1))
    assert headline(exactly(scored, TopK(1)))["value"] == 0.5
    mean = headline(by_batches(scored, TopK(1), 2))
    assert mean["value"] == (0.5 / 2.5 + 1.0) / 2
    assert mean["gap"] == {"value": mean["value"] - 0.5, "batches": 2, "last_rows": 1}


# ----------------------------------------------------------------------------------------------- odd rows, odd requests


def test_tied_and_nonfinite_rows_are_counted_in_every_value(tmp_path: Path) -> None:
    rows = made(10)
    rows["ties"][:3] = 1
    rows["finite"][:2] = 0
    rows["rank"][:2] = NO_RANK
    scored = kept(tmp_path, rows, Layout("seeded", 3))
    assert oddities(scored) == {"tied": 3, "nonfinite": 2}
    for record, _ in records(scored, METRICS, (4,)):
        assert all((item["tied"], item["nonfinite"]) == (3, 2) for item in record["values"])
    assert oddities(kept(tmp_path / "bare", {"rank": rows["rank"]}, Layout())) == {"tied": None, "nonfinite": None}


def test_an_undefined_batch_leaves_the_mean_undefined(tmp_path: Path) -> None:
    nll, finite = np.array([0.5, np.nan, 1.5, 2.5], np.float32), np.array([1, 0, 1, 1], np.uint8)
    scored = kept(tmp_path, {"nll": nll, "finite": finite}, Layout())
    skip = CrossEntropy(nonfinite="skip")
    assert headline(exactly(scored, skip))["value"] == 1.5
    found = headline(by_batches(scored, skip, 1))
    assert (found["value"], found["gap"], found["note"]) == (None, None, "undefined: 1 of 4 batches have no value")
    assert headline(by_batches(scored, skip, 2))["value"] == 1.25
    assert headline(by_batches(scored, CrossEntropy(), 2))["value"] is None


def test_an_infinite_loss_is_recorded_as_such(tmp_path: Path) -> None:
    rows: dict[str, Array] = {"nll": np.array([0.5, np.inf, 1.5], np.float32), "finite": np.ones(3, np.uint8)}
    scored = kept(tmp_path, rows, Layout())
    whole, mean = exactly(scored, CrossEntropy()), by_batches(scored, CrossEntropy(), 2)
    assert headline(whole)["value"] == headline(mean)["value"] == math.inf
    assert headline(mean)["gap"] is None
    store = Store.open(tmp_path / "evals")
    for record in (whole, mean):
        store.evaluation(KEY).results.publish([(record, {})])
    assert len(store.evaluation(KEY).results.read()) == 2


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_of_no_rows_is_refused(size: int, tmp_path: Path) -> None:
    scored = kept(tmp_path, right_of_360(), Layout())
    with pytest.raises(UsageError, match=f"batches of {size} rows"):
        by_batches(scored, TopK(1), size)


def test_states_without_rows_are_merged(tmp_path: Path) -> None:
    rows, metric = made(600), CrossEntropy()
    store = Store.create(tmp_path / "evals")
    put_data(store, {"label": rows["label"]}, {"kind": "natural"})
    store.evaluation(KEY).describe({"weights": WEIGHTS, "data": DATA, "data_name": "test"})
    parts = store.evaluation(KEY).parts("folded")
    for low, high in ((0, 256), (256, 512), (512, 600)):
        state = metric.state({name: rows[name][low:high] for name in metric.columns}, None)
        parts.publish(Part(low, high, {"rank": rows["rank"][low:high]}, {digest(spec_of(metric)): state.to_bytes()}))
    scored = scored_of(store, KEY, "folded", 600)
    assert not scored.has(metric)
    [(record, _)] = records(scored, [metric], (64,))  # no batch mean: its rows are gone
    assert headline(record)["value"] == metric.values(metric.state(rows, None))["cross_entropy"].value
    with pytest.raises(StoreError, match="calibration_error: no rows are kept"):
        exact(scored, CalibrationError())


# ----------------------------------------------------------------------------------------------------- asked afterwards


def sized(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    return sorted((item["metric"]["name"], item["batch_size"]) for item in found)


def test_other_batch_sizes_are_asked_afterwards(tmp_path: Path) -> None:
    scored = kept(tmp_path, made(360), Layout("seeded", 8, (256,), sealed=True))
    store = Store.open(tmp_path / "evals")
    kinds = store.evaluation(KEY).results
    expected = {}
    for record, _ in records(scored, METRICS, (36, 64, 100)):
        if record["estimator"] == "exact":
            kinds.publish([(record, {})])
        else:
            expected[record["metric"]["name"], record["metric"].get("k"), record["batch_size"]] = record["values"]
    found = batch_means(store, WEIGHTS, (36, 64, 100))
    assert sized(found) == sorted((metric.name, size) for metric in METRICS for size in (36, 64, 100))
    for record in found:
        assert record["values"] == expected[record["metric"]["name"], record["metric"].get("k"), record["batch_size"]]
    assert len(kinds.read()) == 20
    assert batch_means(store, "00" * 16, (36,)) == []


def test_metrics_that_are_unknown_here_are_left_out(tmp_path: Path) -> None:
    scored = kept(tmp_path, made(20), Layout())
    store = Store.open(tmp_path / "evals")
    record = exactly(scored, TopK(1))
    store.evaluation(KEY).results.publish([(record | {"metric": {"name": "somebody_elses"}}, {})])
    assert batch_means(store, WEIGHTS, (8,)) == []
    with pytest.raises(StoreError, match="no such evaluation"):
        scored_of(store, "99" * 16, "kept", 20)


def test_batch_means_of_another_size_where_the_exact_value_is_infinite(tmp_path: Path) -> None:
    inputs, labels = np.zeros((10, 3), np.float32), np.zeros(10, np.int64)
    inputs[3, 0] = -np.inf  # the label's score: a finite row whose loss is infinite

    def predict(weights: Mapping[str, Array], given: Array) -> Array:
        return np.asarray(given + 0 * weights["w"][0, 0] + 0 * weights["b"][0])

    evaluation = evaluation_of(data={"test": Arrays(inputs, labels)}, predict=predict, metrics=[CrossEntropy()])
    go(evaluation, checkpoints(tmp_path / "a", 1), store=tmp_path / "evals")
    store = Store.open(tmp_path / "evals")
    (record,) = [item for item in store.listing().records() if item["estimator"] == "exact"]
    assert record["value"] == "inf"
    (made,) = batch_means(store, record["checkpoint"]["digest"], [3])
    assert made["values"][0]["gap"] is None
