"""Slices: by both estimators, from kept columns, added at any time, and found again on the command line."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as judge
from tests._material import (
    CLASSES,
    Counted,
    Events,
    checkpoints,
    columns_of,
    command,
    evaluation_of,
    examples,
    go,
    linear,
    weights_of,
)

from milepost.core.protocols import Metric
from milepost.core.types import Array, Batch, Json
from milepost.data.arrays import Arrays
from milepost.data.batches import Batches
from milepost.errors import UnstableData, UsageError
from milepost.metrics.balanced_accuracy import BalancedAccuracy
from milepost.metrics.cohen_kappa import CohenKappa
from milepost.metrics.confusion import Confusion
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.metrics.f_beta import FBeta
from milepost.metrics.matthews import Matthews
from milepost.metrics.precision import Precision
from milepost.metrics.recall import Recall
from milepost.metrics.top_k import TopK
from milepost.scoring.columns import Scored
from milepost.scoring.estimators import batch_mean, exact
from milepost.scoring.slices import rows_by_label
from milepost.store.store import Store

ROWS = 700
COUNTRY = np.array(["de", "fr", "it"])[np.random.default_rng(3).integers(0, 3, ROWS)]
NIGHT = np.random.default_rng(4).random(ROWS) < 0.2
WEIGHTS = np.random.default_rng(5).integers(1, 4, ROWS) / 2


def sliced(rows: int = ROWS, **more: Any) -> Arrays:
    return Arrays(*examples(rows), slices={"country": COUNTRY[:rows], "night": NIGHT[:rows]}, **more)


def values(events: Events, metric: str, estimator: str = "exact") -> dict[str, Any]:
    """Values by slice."""
    rows = [item for item in events.of("record") if (item["metric"], item["estimator"]) == (metric, estimator)]
    return {item["slice"]: item["value"] for item in rows}


def expected(metric: str, chosen: Array, size: int | None = None) -> float:
    """What a plain loop over the rows of a slice says; with `size` the mean over batches in the source's order."""
    inputs, labels = examples(ROWS)
    predicted = linear(weights_of(1), inputs).argmax(1)
    rows = np.flatnonzero(chosen)
    if size is None:
        return _judge(metric, labels[rows], predicted[rows])
    cuts = [rows[begin : begin + size] for begin in range(0, len(rows), size)]
    return float(np.mean([_judge(metric, labels[cut], predicted[cut]) for cut in cuts]))


def _judge(metric: str, labels: Array, predicted: Array) -> float:
    if metric == "matthews":
        return float(judge.matthews_corrcoef(labels, predicted))
    if metric == "cohen_kappa":
        return float(judge.cohen_kappa_score(labels, predicted))
    return float(np.mean(labels == predicted))


SLICES: dict[str, Array] = {
    "all": np.full(ROWS, fill_value=True),
    **{f"country={name}": np.equal(COUNTRY, name) for name in ("de", "fr", "it")},
    "night=false": ~NIGHT,
    "night=true": NIGHT,
}


def test_every_slice_by_both_estimators(tmp_path: Path) -> None:
    evaluation = evaluation_of(data={"test": sliced()}, metrics=[TopK(1), Matthews(), CohenKappa()], batch_size=64)
    events = go(evaluation, checkpoints(tmp_path / "lenet", 1), store=tmp_path / "store")
    for metric in ("top1", "matthews", "cohen_kappa"):
        for estimator, size in (("exact", None), ("batch_mean", 64)):
            found = values(events, metric, estimator)
            assert found.keys() == SLICES.keys()
            for name, chosen in SLICES.items():
                assert found[name] == pytest.approx(expected(metric, chosen, size), abs=1e-12), (metric, name)
    rows = {item["slice"]: item["n"] for item in events.of("record")}
    assert rows == {name: int(chosen.sum()) for name, chosen in SLICES.items()}
    one = next(item for item in events.of("record") if item["slice"] == "country=fr" and item["metric"] == "top1")
    assert one["intervals"][0]["method"] == "wilson"
    assert one["tied"] == 0


def test_a_slice_named_later_needs_no_model(tmp_path: Path) -> None:
    folder, counted = checkpoints(tmp_path / "lenet", 1, 2), Counted()
    go(evaluation_of(predict=counted, data={"test": Arrays(*examples(ROWS))}), folder, store=tmp_path / "store")
    calls = counted.calls
    events = go(evaluation_of(predict=counted, data={"test": sliced()}), folder, store=tmp_path / "store")
    assert counted.calls == calls
    assert events.ends["step-1/raw"] == ("skipped", "scored from kept columns")
    assert (
        len([item for item in events.of("record") if item["slice"] == "night=true" and item["metric"] == "top1"]) == 4
    )
    again = go(evaluation_of(predict=counted, data={"test": sliced()}), folder, store=tmp_path / "store")
    assert again.ends["step-1/raw"] == ("skipped", "nothing is missing")
    other = Arrays(*examples(ROWS), slices={"night": ~NIGHT})
    with pytest.raises(UnstableData, match=r"slice 'night'.*another name"):
        go(evaluation_of(data={"test": other}, metrics=[TopK(2)]), folder, store=tmp_path / "store")


def test_slices_of_a_limited_run_are_of_its_rows(tmp_path: Path) -> None:
    source = sliced()
    events = go(
        evaluation_of(data={"test": source}), checkpoints(tmp_path / "a", 1), store=tmp_path / "store", limit=300
    )
    met = np.zeros(ROWS, bool)
    met[source.rows(np.arange(300))] = True
    for estimator, size in (("exact", None), ("batch_mean", 64)):
        for name, chosen in SLICES.items():
            assert values(events, "top1", estimator)[name] == pytest.approx(expected("top1", met & chosen, size))
    assert {item["status"] for item in events.of("record")} == {"partial 300/700"}


def test_slices_of_a_stream_and_removed_rows(tmp_path: Path) -> None:
    inputs, labels = examples(ROWS)

    def stream() -> Iterator[Batch]:
        for begin in range(0, ROWS, 90):
            cut = slice(begin, begin + 90)
            yield Batch(inputs[cut], labels[cut], mask=~NIGHT[cut], slices={"country": COUNTRY[cut]})

    events = go(evaluation_of(data={"test": Batches(stream)}), checkpoints(tmp_path / "a", 1), store=tmp_path / "store")
    for name in ("de", "fr", "it"):
        assert values(events, "top1")[f"country={name}"] == expected("top1", np.equal(COUNTRY, name) & ~NIGHT)
        assert values(events, "top1", "batch_mean")[f"country={name}"] == pytest.approx(
            expected("top1", np.equal(COUNTRY, name) & ~NIGHT, 64)
        )


METRICS: list[tuple[Metric, Any]] = [
    (TopK(1), lambda y, p, w: judge.accuracy_score(y, p, sample_weight=w)),
    (
        Precision(classes="seen"),
        lambda y, p, w: judge.precision_score(y, p, average="macro", sample_weight=w, zero_division=0),
    ),
    (
        Recall(),
        lambda y, p, w: judge.recall_score(
            y, p, average="macro", labels=np.unique(y), sample_weight=w, zero_division=0
        ),
    ),
    (
        FBeta(),
        lambda y, p, w: judge.f1_score(y, p, average="macro", labels=np.unique(y), sample_weight=w, zero_division=0),
    ),
    (BalancedAccuracy(), lambda y, p, w: judge.balanced_accuracy_score(y, p, sample_weight=w)),
    (CohenKappa(), lambda y, p, w: judge.cohen_kappa_score(y, p, sample_weight=w)),
    (Matthews(), lambda y, p, w: judge.matthews_corrcoef(y, p, sample_weight=w)),
]


class _Kept:
    """Columns in memory, as a reader of the store gives them."""

    def __init__(self, columns: dict[str, Array]) -> None:
        self.columns, self.names = columns, list(columns)

    def environments(self) -> list[Any]:
        return []

    def slice(self, name: str, start: int, stop: int) -> Array:
        return self.columns[name][start:stop]

    def take(self, name: str, positions: Array) -> Array:
        return self.columns[name][positions]


def _scored(columns: dict[str, Array], data: dict[str, Array], order: Any) -> Any:
    rows = len(data["label"])
    reader: Any = _Kept
    return Scored(reader(columns), reader(data), order, rows, rows, "test")


@given(st.integers(2, 120), st.integers(0, 2**32 - 1), st.booleans())
def test_a_slice_is_scored_as_a_data_set_of_its_rows(rows: int, seed: int, heavy: bool) -> None:
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, 4, rows), rng.integers(0, 4, rows).astype(np.int32)
    columns = {
        "prediction": predicted,
        "rank": (labels != predicted).astype(np.int32),
        "ties": np.zeros(rows, np.int32),
        "finite": np.ones(rows, bool),
    }
    data = {"label": labels, **({"weight": rng.integers(1, 9, rows) / 4.0} if heavy else {})}
    source = Arrays(np.zeros((rows, 1)), labels, order="seeded", seed=seed % 97)
    marks = rng.integers(0, 3, rows)
    scored = _scored(columns, data, source)
    natural = np.argsort(source.rows(np.arange(rows)))
    for label, rows_of_label in rows_by_label(scored, "mark", marks).items():
        part = replace(scored, chosen=rows_of_label)
        chosen = natural[marks[natural] == int(label.removeprefix("mark="))]
        alone = _scored(
            {name: item[chosen] for name, item in columns.items()},
            {name: item[chosen] for name, item in data.items()},
            Arrays(np.zeros((len(chosen), 1)), labels[chosen], order="natural"),
        )
        for metric, outside in METRICS:
            own, whole = exact(part, metric)[0], exact(alone, metric)[0]
            assert own == whole
            assert batch_mean(part, metric, 7, own) == batch_mean(alone, metric, 7, whole)
            value = own[0]["value"]
            if value is not None and len(set(labels[chosen])) > 1:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the judge's, of absent classes
                    message = outside(labels[chosen], predicted[chosen], data["weight"][chosen] if heavy else None)
                assert value == pytest.approx(message, abs=1e-12)


def test_metrics_that_live_as_states_have_no_slices_and_too_many_values_are_refused(tmp_path: Path) -> None:
    evaluation = evaluation_of(data={"test": sliced()}, metrics=[TopK(1), CrossEntropy(), Confusion()])
    events = go(evaluation, checkpoints(tmp_path / "a", 1), store=tmp_path / "store")
    assert {item["slice"] for item in events.of("record") if item["metric"] == "cross_entropy"} == SLICES.keys()
    store = Store.open(tmp_path / "store")
    columns = columns_of(tmp_path / "store")
    data = {"label": store.dataset(store.storage.list("datasets")[0]).read().slice("label", 0, ROWS)}
    many = np.arange(ROWS * 2)
    wide = _scored(
        {name: np.tile(item, 2) for name, item in columns.items()},
        {"label": np.tile(data["label"], 2)},
        Arrays(np.zeros((ROWS * 2, 1)), np.tile(data["label"], 2)),
    )
    with pytest.raises(UsageError, match=r"slice 'id' has 1,400 distinct values.*bins"):
        rows_by_label(wide, "id", many)


EVAL = """
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.tasks import Classification

rng = np.random.default_rng(0)
labels = rng.integers(0, 10, 200)
evaluation = Evaluation(
    model=FunctionModel(lambda weights, inputs: inputs @ weights["w"] + weights["b"]),
    data={"test": Arrays(rng.normal(size=(200, 8)).astype("float32"), labels, slices={"site": labels % 3})},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
)
"""


def test_slices_on_the_command_line(tmp_path: Path) -> None:
    checkpoints(tmp_path / "lenet", 1, 2)
    (tmp_path / "eval.py").write_text(EVAL)
    assert command("run", "eval.py", "lenet", cwd=tmp_path).returncode == 0
    plain = command("ls", cwd=tmp_path).stdout
    assert "site" not in plain
    by_site = command("ls", "--slice", "site", cwd=tmp_path).stdout
    assert [line for line in by_site.splitlines() if "site=2" in line]
    assert len([line for line in by_site.splitlines() if "site=" in line]) == 6
    one = command("ls", "--slice", "site=1", "--json", cwd=tmp_path)
    rows: list[Json] = [json.loads(line) for line in one.stdout.splitlines()]
    assert {row["slice"] for row in rows if row["event"] == "record"} == {"site=1"}
    shown = command("show", "1", cwd=tmp_path).stdout
    assert "site=0" in shown
    best = command("best", "--metric", "top1", "--slice", "site=1", cwd=tmp_path)
    assert best.returncode == 0, best.stderr
    assert "site=1" in best.stdout
    wrong = command("ls", "--slice", "nowhere", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "site=0" in wrong.stderr
    assert CLASSES == 10
