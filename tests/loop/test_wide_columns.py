"""Columns that are too wide to keep: as states, through resumption; and kept, to see what batch sizes change."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tests._material import (
    CLASSES,
    FEATURES,
    Counted,
    checkpoints,
    columns_of,
    evaluation_of,
    examples,
    go,
    linear,
    save,
    weights_of,
)

import milepost.loop.evaluate
from milepost.core.types import Array, Column, Columns, Value
from milepost.data.arrays import Arrays
from milepost.metrics._states import ExactSums, Tally
from milepost.metrics.top_k import TopK
from milepost.models.numpy import FunctionModel
from milepost.store.store import Store
from milepost.tasks.classification import Classification


@dataclass(frozen=True, slots=True)
class Wide:
    """A classification that also gives every score: 80 bytes a row, so not kept."""

    outputs: str = "logits"
    name: ClassVar[str] = "toy_wide"

    @property
    def _task(self) -> Classification:
        return Classification(outputs="logits")

    def columns(self) -> dict[str, Column]:
        return {**self._task.columns(), "scores": Column("scores", "float64", "every score", (CLASSES,))}

    def scores(self, outputs: Any) -> Array:
        return self._task.scores(outputs)

    def reduce(self, outputs: Any, labels: Array, wanted: frozenset[str]) -> dict[str, Array]:
        made = self._task.reduce(outputs, labels, wanted - {"scores"})
        return {**made, **({"scores": np.asarray(outputs, np.float64)} if "scores" in wanted else {})}


@dataclass(frozen=True, slots=True)
class MeanScore:
    """The exact mean of all scores: reads a wide column."""

    name: ClassVar[str] = "toy_mean_score"
    headline: ClassVar[str] = "mean_score"
    columns: ClassVar[tuple[str, ...]] = ("scores",)
    direction: ClassVar[str] = "none"

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        scores = columns["scores"]
        return Tally({"n": np.int64(scores.size)}, {"sum": ExactSums.of(scores)})

    def values(self, state: Tally) -> dict[str, Value]:
        return {"mean_score": Value(state.sums["sum"].ratio(state.count("n")))}


@pytest.mark.parametrize("limits", [(), (100,), (100, 300, 512)])
def test_wide_columns_live_on_as_states_and_survive_resumption(
    limits: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milepost.loop.evaluate, "PUBLISH_ROWS", 256)
    folder = checkpoints(tmp_path / "lenet", 1, 2)
    evaluation = evaluation_of(task=Wide(), metrics=[TopK(1), MeanScore()])
    for limit in limits:
        go(evaluation, folder, store=tmp_path / "evals", limit=limit)
    predict = Counted()
    evaluation = evaluation_of(task=Wide(), metrics=[TopK(1), MeanScore()], predict=predict)
    events = go(evaluation, folder, store=tmp_path / "evals")
    assert "scores" not in columns_of(tmp_path / "evals")
    assert len(predict.rows) <= 700 - max(limits, default=0) + 63  # the batch that is begun is predicted whole
    inputs, _ = examples(700)
    order = Arrays(*examples(700)).rows(np.arange(700))
    for step in (1, 2):
        # In the batches of the pass, as the framework gives them.
        scores = np.concatenate(
            [linear(weights_of(step), inputs[order[begin : begin + 64]]) for begin in range(0, 700, 64)]
        )
        assert events.value("mean_score", step=step) == pytest.approx(scores.astype(np.float64).mean(), rel=1e-12)
    everything = go(
        evaluation_of(task=Wide(), metrics=[TopK(1), MeanScore()], keep="all"), folder, store=tmp_path / "kept"
    )
    assert "scores" in columns_of(tmp_path / "kept")
    for step in (1, 2):
        assert events.value("mean_score", step=step) == everything.value("mean_score", step=step)


def two_layers(weights: dict[str, Array], inputs: Array) -> Array:
    hidden = np.maximum(inputs @ weights["0.weight"].T + weights["0.bias"], 0)
    return np.asarray(hidden @ weights["2.weight"].T + weights["2.bias"])


def torch_layers() -> Any:
    from torch import nn

    from milepost.models.torch import TorchModel

    return TorchModel(lambda: nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, CLASSES)))


@pytest.mark.parametrize("make", [lambda: FunctionModel(two_layers), torch_layers], ids=["numpy", "torch"])
def test_a_batch_size_changes_integers_only_where_scores_are_as_near_as_they_moved(make: Any, tmp_path: Path) -> None:
    folder = tmp_path / "lenet"
    folder.mkdir()
    rng = np.random.default_rng(5)
    sides = {"0.weight": (64, FEATURES), "0.bias": (64,), "2.weight": (CLASSES, 64), "2.bias": (CLASSES,)}
    save(folder / "step-1.npz", {name: rng.normal(size=shape).astype(np.float32) for name, shape in sides.items()})
    found = {}
    for size in (1, 7, 256, 10_000):
        store = tmp_path / f"store-{size}"
        given = evaluation_of(10_000, model=make(), task=Wide(), metrics=[TopK(1)], keep="all", batch_size=size)
        go(given, folder, store=store)
        found[size] = columns_of(store)
        opened = Store.open(store)
        (key,) = opened.evaluations()
        kept = opened.evaluation(key)
        (environment,) = kept.parts(kept.column_sets()[0]).read().environments()
        assert environment["batch_size"] == size
        assert environment["model_check"]["max_difference"] < 1e-3
    for size in (1, 7, 256):
        compare(found[size], found[10_000])


def compare(one: dict[str, Array], other: dict[str, Array]) -> None:
    """Compare two runs row by row, by how far the row's own scores moved between them."""
    moved = np.abs(one["scores"] - other["scores"]).max(axis=1)
    scale = np.abs(one["scores"]).max(axis=1)
    assert (moved <= 1e-5 * scale).all(), "scores moved by more than float32 rounds"
    ordered = np.sort(one["scores"], axis=1)
    near = np.diff(ordered, axis=1).min(axis=1) <= 2 * moved
    for name, column in one.items():
        if column.dtype.kind != "f":
            assert not ((column != other[name]) & ~near).any(), f"{name} differs, though no scores are near enough"
        elif name != "scores":
            # No share moves by more than the scores do; a likelihood and a margin by twice as much.
            gap = np.abs(column.astype(np.float64) - other[name])
            assert (gap <= 4 * moved + 1e-6 * (1 + np.abs(column))).all(), name
    assert np.array_equal(one["finite"], other["finite"])
