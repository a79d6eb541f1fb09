"""A fake of each seam, with the required members alone, runs end to end; one with a member less is refused."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests._material import checkpoints, evaluation_of, go

from milepost import registry
from milepost._internal.fileid import identity_of
from milepost.cli import main
from milepost.core.capabilities import CAPABILITIES, members, missing
from milepost.core.protocols import Export, Format, Metric, Model, Source, Task
from milepost.core.sessions import Engine, Session
from milepost.core.types import (
    Array,
    Batch,
    CheckpointFiles,
    Column,
    Columns,
    Extent,
    Job,
    Json,
    Table,
    Tensor,
    Value,
    Variable,
)
from milepost.data.arrays import Arrays
from milepost.engines.inprocess import InProcess
from milepost.errors import DataError, UsageError
from milepost.metrics._states import Tally
from milepost.metrics.top_k import TopK
from milepost.models.numpy import FunctionModel
from milepost.tasks.classification import Classification

ROWS, BIAS = 700, 3.5


class ToyModel:
    def variables(self) -> Sequence[Variable]:
        return [Variable("bias", "float32", ())]

    def load(self, tensors: Mapping[str, Array]) -> float:
        return float(tensors["bias"])

    def predict(self, weights: float, inputs: Array) -> Array:
        return inputs + weights


class ToySource:
    size = ROWS

    def fingerprint(self) -> dict[str, Json]:
        return {"kind": "toy", "digest": "1"}

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        for first in range(start - start % batch_size, stop, batch_size):
            rows = np.arange(first, min(first + batch_size, ROWS))
            yield Batch(rows.astype(np.float32), rows % 7, start=first)


class ToyTask:
    name = "toy"

    def columns(self) -> dict[str, Column]:
        return {"error": Column("error", "float64", "output minus label")}

    def reduce(self, outputs: Array, labels: Array, wanted: frozenset[str]) -> dict[str, Array]:
        return {"error": outputs - labels.astype(np.float64)}

    def scores(self, outputs: Array) -> Array:
        return np.asarray(outputs, np.float64)


class ToyMetric:
    name = "toy"
    headline = "near"
    columns = ("error",)
    direction = "higher"

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        return Tally({"n": np.int64(len(columns["error"])), "near": np.int64((columns["error"] < 10).sum())}, {})

    def values(self, state: Tally) -> dict[str, Value]:
        return {"near": Value(state.count("near") / state.count("n"))}


class ToyFormat:
    name = "toy"

    def find(self, entries: Sequence[Any]) -> Iterable[CheckpointFiles]:
        for entry in entries:
            if entry.head.startswith(b"TOY"):
                yield CheckpointFiles(entry.path, self.name, (entry.path,), identity_of(entry.path))

    def read(self, found: CheckpointFiles) -> Table:
        return Table(self.name, (Tensor("bias", "<f4", (), Extent(found.path, 3, 4)),))

    def fetch(self, tensor: Tensor) -> bytes:
        raise AssertionError(f"{tensor.name} is raw")


class ToyEngine:
    """Opens a session that has the members of the Protocol and no other, whatever the real one has."""

    name = "toy"

    def open(self, job: Job) -> Any:
        inner = InProcess().open(job)
        return SimpleNamespace(**{name: getattr(inner, name) for name in members(Session)})


class ToyExport:
    name = "toy"

    def write(self, records: Iterable[Mapping[str, Json]], target: str) -> None:
        Path(target).write_text(json.dumps([item["value"] for item in records if item["event"] == "record"]))


FAKES: list[tuple[type, Any]] = [
    (Model, ToyModel),
    (Source, ToySource),
    (Task, ToyTask),
    (Metric, ToyMetric),
    (Format, ToyFormat),
    (Engine, ToyEngine),
    (Export, ToyExport),
]
IN_ROOMS = {"checkpoints.formats": ToyFormat, "engines": ToyEngine, "exports": ToyExport}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {room: (SimpleNamespace(load=lambda cls=cls: cls, value="toy"),) for room, cls in IN_ROOMS.items()}
    monkeypatch.setattr(registry, "_entry_points", lambda room: points.get(room, ()))


@pytest.mark.parametrize(("seam", "fake"), FAKES)
def test_the_fakes_have_the_required_members_only(seam: type, fake: Any) -> None:
    assert {name for name in vars(fake) if not name.startswith("_")} == set(members(seam))
    for kind in CAPABILITIES.get(seam, ()):
        assert missing(fake, kind)


@pytest.mark.usefixtures("registered")
def test_required_members_suffice_from_checkpoint_to_export(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "step-1.toy").write_bytes(b"TOY" + np.float32(BIAS).tobytes())
    store = tmp_path / "evals"
    evaluation = evaluation_of(model=ToyModel(), data={"test": ToySource()}, task=ToyTask(), metrics=[ToyMetric()])
    expected = float(np.mean(np.arange(ROWS) + BIAS - np.arange(ROWS) % 7 < 10))
    for limit in (300, None):  # a second run goes on where the first ended
        events = go(evaluation, run, store=store, engine="toy", limit=limit)
        assert events.done == (1, 0, 0)
    assert events.value("near") == expected
    assert events.value("near", "batch_mean") is not None
    assert main(["best", "--metric", "near", "--store", str(store)]) == 0
    assert main(["export", "toy", str(tmp_path / "out"), "--store", str(store)]) == 0
    assert expected in json.loads((tmp_path / "out").read_text())


@pytest.mark.parametrize(
    ("room", "member"), [(room, name) for room in IN_ROOMS for name in ("name", "open", "find", "write")]
)
def test_what_another_distribution_adds_is_checked_when_it_is_loaded(
    room: str, member: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = IN_ROOMS[room]
    half = type("Half", (), {name: item for name, item in vars(fake).items() if name not in (member, "__dict__")})
    point = SimpleNamespace(load=lambda: half, value="plugin:Half")
    monkeypatch.setattr(registry, "_entry_points", lambda asked: (point,) if asked == room else ())
    if member not in vars(fake):
        assert registry.load(room, "toy") is half
        return
    with pytest.raises(
        UsageError, match=rf"plugin:Half, .*'milepost.{room}', has no `{member}`; expected a class with"
    ):
        registry.classes(room)


def without(thing: Any, member: str) -> Any:
    """Return an object with every public member of another but one."""
    names = [name for name in dir(thing) if not name.startswith("_") and name != member]
    return type(type(thing).__name__, (), {name: getattr(thing, name) for name in names})()


REAL: list[tuple[str, type, Callable[[], Any]]] = [
    ("model", Model, lambda: FunctionModel(lambda weights, inputs: inputs)),
    ("data", Source, lambda: Arrays(np.eye(3), np.arange(3))),
    ("task", Task, lambda: Classification(outputs="logits")),
    ("metrics", Metric, lambda: TopK(1)),
]


@pytest.mark.parametrize(
    ("keyword", "seam", "make", "member"), [(*item, member) for item in REAL for member in members(item[1])]
)
def test_a_missing_member_is_named_when_the_evaluation_is_made(
    keyword: str, seam: type, make: Callable[[], Any], member: str
) -> None:
    thing = without(make(), member)
    given = {"data": {"test": thing}, "metrics": [thing]}.get(keyword, thing)
    with pytest.raises(UsageError, match=rf"Evaluation\({keyword}.*has no (method|value) `{member}`: \w"):
        evaluation_of(**{keyword: given})


def test_half_of_a_capability_is_refused() -> None:
    mean = without(TopK(1), "range")
    with pytest.raises(UsageError, match=r"'top_k' has no value `range`, which it needs because it has `contribution`"):
        evaluation_of(metrics=[mean])
    with pytest.raises(UsageError, match=r"source 'arrays' has no method `positions`, which it .* has `rows`"):
        evaluation_of(data={"test": without(Arrays(np.eye(3), np.arange(3)), "positions")})


@pytest.mark.parametrize(
    ("member", "value", "words"),
    [
        ("direction", "up", "direction = 'up'; expected one of 'higher', 'lower', 'none'"),
        ("direction", None, "direction = None; expected one of"),
        ("headline", None, "headline = None; expected text"),
        ("columns", "rank", r"columns = 'rank'; expected a tuple of names"),
        ("columns", (), r"columns = \(\); expected a tuple of names"),
        ("range", (1.0, 0.0), r"range = \(1.0, 0.0\); expected its smallest and its largest"),
        ("state", 3, "has no method `state`: Summarise rows"),
    ],
)
def test_wrong_values_are_refused_when_the_evaluation_is_made(member: str, value: object, words: str) -> None:
    metric = without(TopK(1), member)
    setattr(type(metric), member, value)
    with pytest.raises(UsageError, match=words):
        evaluation_of(metrics=[metric])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": "700"}, "source 'test': its size is '700'; expected a number of rows"),
        ({"fingerprint": lambda self: {"kind": {1, 2}}}, r"source 'test': fingerprint\(\) is no plain data"),
    ],
)
def test_wrong_values_of_a_source_are_refused_before_any_row_is_read(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    source = type("Wrong", (ToySource,), change)()
    with pytest.raises(DataError, match=words):
        go(evaluation_of(data={"test": source}), checkpoints(tmp_path / "run", 1), store=tmp_path / "evals")
