"""Four other kinds of metric in the same shapes (docs/design/metrics.md): tried small, before they are built."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from sklearn.metrics import jaccard_score, ndcg_score, roc_auc_score

from milepost.core.types import Array, Column, Columns, Value
from milepost.data.arrays import Arrays
from milepost.evaluation.definition import Evaluation
from milepost.metrics import _states
from milepost.metrics._mean import mean, summed
from milepost.metrics._states import ExactSums, Tally
from milepost.models.numpy import FunctionModel
from milepost.testing import metrics as laws
from milepost.testing.metrics import check_metric

ROWS = 40


@dataclass(frozen=True)
class _Toy:
    """What a toy metric need not repeat."""

    direction: ClassVar[str] = "higher"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)


@dataclass(frozen=True)
class MeanIoU(_Toy):
    """Segmentation: intersection over union of the summed confusion of all images [rows, C, C]."""

    name: ClassVar[str] = "mean_iou"
    headline: ClassVar[str] = "mean_iou"
    columns: ClassVar[tuple[str, ...]] = ("confusion",)

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        images = columns["confusion"]
        n, shape = np.int64(len(images)), images.shape[1:]
        if weights is None:
            return Tally({"n": n, "matrix": images.sum(axis=0, dtype=np.int64)})
        cells = np.tile(np.arange(math.prod(shape)), len(images))
        matrix = ExactSums.products(images.ravel(), np.repeat(weights, math.prod(shape)), cells, shape)
        return Tally({"n": n}, {"matrix": matrix})

    def values(self, state: Tally) -> dict[str, Value]:
        if not state.count("n"):
            return {"mean_iou": Value(None, note="no rows")}
        matrix = state.sums["matrix"].units if state.sums else state.counts["matrix"].astype(object)
        unions = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diagonal(matrix)
        shares = [int(a) / int(b) for a, b in zip(np.diagonal(matrix), unions, strict=True) if b]
        return {"mean_iou": Value(math.fsum(shares) / len(shares) if shares else None, note="no pixels")}


@dataclass(frozen=True)
class BitsPerByte(_Toy):
    """Tokens: a document's summed nll (nats) and its bytes."""

    name: ClassVar[str] = "bits_per_byte"
    headline: ClassVar[str] = "bits_per_byte"
    columns: ClassVar[tuple[str, ...]] = ("nll", "bytes")
    direction: ClassVar[str] = "lower"
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        weight = np.ones(len(columns["nll"])) if weights is None else weights
        sums = {name: ExactSums.products(columns[name], weight) for name in self.columns}
        return Tally({"n": np.int64(len(weight))}, sums)

    def values(self, state: Tally) -> dict[str, Value]:
        if not state.count("n"):
            return {"bits_per_byte": Value(None, note="no rows")}
        return {"bits_per_byte": Value(state.sums["nll"].ratio(state.sums["bytes"]) / math.log(2))}


@dataclass(frozen=True)
class NDCG(_Toy):
    """Ranking: a query's relevances by rank and at best, cut at k; one without a relevant document is non-finite."""

    k: int = 5
    name: ClassVar[str] = "ndcg"
    columns: ClassVar[tuple[str, ...]] = ("ranked", "ideal")

    @property
    def headline(self) -> str:
        return f"ndcg{self.k}"

    def contribution(self, columns: Columns) -> Array:
        discount = 1 / np.log2(np.arange(self.k) + 2)
        top, best = ((columns[name][:, : self.k] * discount).sum(axis=1) for name in self.columns)
        shares: Array = np.divide(top, best, out=np.full(len(top), np.nan), where=best > 0)
        return shares.astype(np.float32)

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        shares = self.contribution(columns)
        return summed(shares, ~np.isnan(shares), weights)

    def values(self, state: Tally) -> dict[str, Value]:
        return {self.headline: mean(state, skip=True)}


@dataclass(frozen=True)
class Scores:
    """A state of another kind: the distinct scores, and the exact weight of each with either label."""

    keys: Array
    weights: Array

    def merge(self, other: Self) -> Self:
        if not isinstance(other, Scores):
            raise ValueError("states of different metrics cannot be merged")
        keys, where = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        weights = np.zeros((len(keys), 2), object)
        np.add.at(weights, where, np.concatenate([self.weights, other.weights]))
        return type(self)(keys, weights)

    def to_bytes(self) -> bytes:
        head = {"state": "scores", "keys": self.keys.tolist(), "weights": list(map(hex, self.weights.ravel()))}
        return json.dumps(head).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        head = json.loads(data)
        weights = np.array([int(item, 16) for item in head["weights"]], object)
        return cls(np.array(head["keys"], np.float32), weights.reshape(-1, 2))


@dataclass(frozen=True)
class AUC(_Toy):
    """Curves: the share of pairs of either label in the right order."""

    name: ClassVar[str] = "auc"
    headline: ClassVar[str] = "auc"
    columns: ClassVar[tuple[str, ...]] = ("score", "label")

    def state(self, columns: Columns, weights: Array | None) -> Scores:
        keys, where = np.unique(columns["score"], return_inverse=True)
        weight = np.ones(len(where)) if weights is None else weights
        return Scores(keys, ExactSums.of(weight, where * 2 + columns["label"], (len(keys), 2)).units)

    def values(self, state: Scores) -> dict[str, Value]:
        negative, positive = state.weights.T
        pairs = int(negative.sum()) * int(positive.sum())
        if not pairs:
            return {"auc": Value(None, note="one label is missing")}
        below = np.cumsum(negative) - negative
        return {"auc": Value(int((positive * (2 * below + negative)).sum()) / (2 * pairs))}


def made() -> dict[str, Array]:
    random = np.random.default_rng(0)
    ranked = random.integers(0, 3, (ROWS, 8)) * random.integers(0, 2, (ROWS, 1))
    return {
        "confusion": random.integers(0, 1000, (ROWS, 3, 3)).astype(np.int32),
        "nll": (random.random(ROWS) * 1e4).astype(np.float32),
        "bytes": random.integers(1, 10_000, ROWS).astype(np.int32),
        "ranked": ranked.astype(np.int8),
        "ideal": -np.sort(-ranked, axis=1).astype(np.int8),
        "score": (random.integers(0, 30, ROWS) / 8).astype(np.float32),
        "label": random.integers(0, 2, ROWS),
    }


@pytest.mark.parametrize("metric", [MeanIoU(), BitsPerByte(), NDCG(), NDCG(k=3), AUC()], ids=str)
@pytest.mark.parametrize("weights", [None, np.arange(ROWS) % 4 + 1.0], ids=["plain", "weighted"])
def test_the_kind_keeps_the_laws(metric: Any, weights: Array | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws, "load", lambda room, name: type(metric))
    monkeypatch.setitem(_states._READERS, "scores", Scores.from_bytes)
    check_metric(metric, made(), weights)


def test_the_kinds_agree_with_a_judge() -> None:
    rows = made()
    metrics: list[Any] = [MeanIoU(), NDCG(k=8), AUC()]
    found = {type(m): m.values(m.state(rows, None))[m.headline].value for m in metrics}
    assert found[AUC] == pytest.approx(roc_auc_score(rows["label"], rows["score"]), rel=1e-14)
    fine = rows["ideal"][:, 0] > 0
    ndcg = ndcg_score(rows["ranked"][fine], np.tile(-np.arange(8), (int(fine.sum()), 1)))
    assert found[NDCG] == pytest.approx(ndcg, rel=1e-6)
    truth, guess = np.divmod(np.repeat(np.arange(9), rows["confusion"].sum(axis=0).ravel()), 3)
    assert found[MeanIoU] == pytest.approx(jaccard_score(truth, guess, average="macro"), rel=1e-14)


class Tokens:
    """A task whose column is ragged: a document's tokens have no common number."""

    name = "tokens"

    def columns(self) -> Mapping[str, Column]:
        wide = Column("wide", "float32", "64 numbers", (64,))
        return {
            "nll": Column("nll", "float32", "a token's nll", None),
            "n": Column("n", "int32", "tokens"),
            "wide": wide,
        }

    def reduce(self, outputs: Any, labels: Array, wanted: frozenset[str]) -> dict[str, Array]:
        raise NotImplementedError

    def scores(self, outputs: Any) -> Array:
        raise NotImplementedError


@dataclass(frozen=True)
class PerToken(BitsPerByte):
    """Reads a ragged, a wide and a plain column."""

    columns: ClassVar[tuple[str, ...]] = ("nll", "wide", "n")


@pytest.mark.parametrize(("keep", "kept"), [(None, {"n"}), ("all", {"n", "wide"})])
def test_a_ragged_column_is_never_kept(keep: str | None, kept: set[str]) -> None:
    evaluation = Evaluation(
        model=FunctionModel(lambda weights, inputs: inputs),
        data={"test": Arrays(np.zeros((2, 2)), np.arange(2))},
        task=Tokens(),
        metrics=[PerToken()],
        keep=keep,
        version="1",
    )
    assert evaluation.kept == kept
    assert evaluation.folded == (PerToken(),)
