"""Without memory: fewer checkpoints, then smaller batches, with the same integers; and nothing idle stays."""

import gc
import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import (
    Events,
    checkpoints,
    columns_of,
    command,
    evaluation_of,
    go,
    leftovers,
    linear,
    lines_of,
    request_of,
    weights_of,
)

from milepost.core.types import Array
from milepost.loop import evaluate
from milepost.models.numpy import FunctionModel
from milepost.run.run import run
from milepost.store.store import Store

STEPS = (1, 2, 3, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoints(tmp_path / "run", *STEPS)


@pytest.fixture(autouse=True)
def several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "PUBLISH_ROWS", 256)


class Narrow:
    """A linear model that has memory for so many rows, of all checkpoints or of one (by its first number)."""

    def __init__(self, rows: int, of: float | None = None, after: int = 0) -> None:
        self.rows, self.of, self.after = rows, of, after
        self.refused = self.predicted = 0
        self.sizes: list[int] = []

    def __call__(self, weights: Mapping[str, Array], inputs: Array) -> Array:
        self.sizes.append(len(inputs))
        concerned = self.of is None or float(weights["b"][0]) == self.of
        if concerned and len(self.sizes) > self.after and len(inputs) > self.rows:
            self.refused += 1
            raise MemoryError(f"no room for {len(inputs)} rows")
        self.predicted += len(inputs)
        return linear(weights, inputs)


def environments(store: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the environments of the parts by checkpoint."""
    opened = Store.open(store)
    names = {checkpoint.digest: checkpoint.name for checkpoint in opened.checkpoints()}
    found = {}
    for key in opened.evaluations():
        folder = opened.evaluation(key)
        for name in folder.column_sets():
            found[names[(folder.spec() or {})["weights"]]] = folder.parts(name).read().environments()
    return found


def sizes(store: Path) -> dict[str, set[int]]:
    """Return the batch sizes that were used, by checkpoint."""
    return {name: {item["batch_size"] for item in items} for name, items in environments(store).items()}


def same_numbers(store: Path, reference: Path) -> None:
    """Check that integers are the same, and floats but for rounding."""
    for which in range(len(STEPS)):
        found, expected = columns_of(store, which), columns_of(reference, which)
        assert found.keys() == expected.keys()
        for name, column in expected.items():
            if column.dtype.kind == "f":
                np.testing.assert_allclose(found[name], column, rtol=1e-5, atol=1e-6)
            else:
                np.testing.assert_array_equal(found[name], column)


def plain(folder: Path, tmp_path: Path) -> Path:
    """Evaluate without any limit."""
    store = tmp_path / "plain"
    assert go(evaluation_of(), folder, store=store).done == (4, 0, 0)
    return store


def exact_values(events: Events) -> list[Any]:
    names = ("top1", "top5")
    return [events.value(name, step=step) for name in names for step in STEPS]


def test_the_batch_is_halved_until_it_fits_and_the_size_is_remembered(folder: Path, tmp_path: Path) -> None:
    model = Narrow(10)
    events = go(evaluation_of(predict=model), folder, store=tmp_path / "store", per_pass=2)
    assert events.done == (4, 0, 0)
    assert sizes(tmp_path / "store") == {f"step-{step}": {8} for step in STEPS}
    same_numbers(tmp_path / "store", plain(folder, tmp_path))
    # Two at 64, alone at 64, 32 and 16; then never again.
    assert model.refused == 5
    assert "memory ran out: from here on at most 1 checkpoint at once, 8 rows a batch instead of 64" in events.notes
    assert events.notes.count("memory ran out") == 1
    assert leftovers(tmp_path / "store") == []


@pytest.mark.parametrize("after", [5, 17, 30])
def test_rows_that_are_done_when_memory_ends_are_not_done_again(after: int, folder: Path, tmp_path: Path) -> None:
    model = Narrow(16, after=after)
    events = go(evaluation_of(predict=model), folder, store=tmp_path / "store", per_pass=4)
    assert events.done == (4, 0, 0)
    same_numbers(tmp_path / "store", plain(folder, tmp_path))
    assert exact_values(events) == exact_values(go(evaluation_of(), folder, store=tmp_path / "other"))
    used = sizes(tmp_path / "store")
    assert set().union(*used.values()) <= {64, 16}
    assert 16 in used["step-4"]
    rows = {name: sum(item["rows"] for item in items) for name, items in environments(tmp_path / "store").items()}
    assert set(rows.values()) == {700}
    # No more than what came after the last part (256 rows, and the batch in which it ends), and the model check.
    assert model.predicted <= 4 * (700 + 256 + 64) + 2 * 64


def test_one_that_never_fits_is_the_only_row_and_the_others_keep_their_batch(folder: Path, tmp_path: Path) -> None:
    model = Narrow(0, of=float(weights_of(2)["b"][0]))
    events = go(evaluation_of(predict=model), folder, store=tmp_path / "store", per_pass=1)
    assert events.done == (3, 0, 1)
    assert events.failures == {
        "step-2.npz": "out of memory: it does not fit into memory, not even alone and with one row at a time: rows 0 "
        f"to 1: MemoryError: no room for 1 rows (raised at {__file__}:{Narrow.__call__.__code__.co_firstlineno + 5})"
    }
    assert sizes(tmp_path / "store") == {f"step-{step}": {64} for step in (1, 3, 4)}
    assert events.of("failure")[0]["attempts"] == 1


class Counting(FunctionModel):
    """Has memory for so many checkpoints at once; `most` is how many there were."""

    def __init__(self, room: int) -> None:
        super().__init__(linear)
        self.room, self.most = room, 0
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()

    def load(self, tensors: Mapping[str, Array]) -> Any:
        if len(self.alive) >= self.room:
            raise MemoryError("no room for another checkpoint")
        made = Held(super().load(tensors))
        self.alive.add(made)
        self.most = max(self.most, len(self.alive))
        return made

    def predict(self, weights: Any, inputs: Any) -> Any:
        return super().predict(weights.inner, inputs)

    def unread(self, weights: Any) -> list[str]:
        return super().unread(weights.inner)


class Held:
    """Weights that can be referred to weakly."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner


@pytest.mark.parametrize("room", [1, 2, 3])
def test_as_many_checkpoints_as_there_is_room_for(room: int, folder: Path, tmp_path: Path) -> None:
    model = Counting(room)
    events = go(evaluation_of(model=model), folder, store=tmp_path / "store", per_pass=4)
    assert events.done == (4, 0, 0)
    assert model.most == room
    assert sizes(tmp_path / "store") == {f"step-{step}": {64} for step in STEPS}
    assert f"at most {room} checkpoint" in events.notes
    same_numbers(tmp_path / "store", plain(folder, tmp_path))
    gc.collect()
    assert not model.alive


class Crowded(Counting):
    """Takes in any number of checkpoints, but cannot predict beside more than one other."""

    refused = 0

    def predict(self, weights: Any, inputs: Any) -> Any:
        if len(self.alive) > 2:
            self.refused += 1
            raise MemoryError
        return super().predict(weights, inputs)


def test_who_has_no_room_makes_room_for_the_others_at_once(folder: Path, tmp_path: Path) -> None:
    model = Crowded(10)
    events = go(evaluation_of(model=model), folder, store=tmp_path / "store", per_pass=4)
    assert events.done == (4, 0, 0)
    assert model.refused == 2
    assert sizes(tmp_path / "store") == {f"step-{step}": {64} for step in STEPS}


def test_weights_that_fit_not_even_alone_are_a_row(folder: Path, tmp_path: Path) -> None:
    events = go(evaluation_of(model=Counting(0)), folder, store=tmp_path / "store")
    assert events.done == (0, 0, 4)
    assert set(events.failures.values()) == {
        "out of memory: the model cannot take the weights: MemoryError: no room for another checkpoint"
    }


def test_150_checkpoints_leave_no_weights_and_no_descriptors(tmp_path: Path) -> None:
    model = Counting(10)
    folder = checkpoints(tmp_path / "run", *range(150))
    descriptors, alive, events = list[int](), list[int](), Events()

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "checkpoint" and event["state"] == "done":
            descriptors.append(len(os.listdir("/proc/self/fd")))
            alive.append(len(model.alive))
        events.append(event)

    run(request_of(evaluation_of(rows=40, model=model), folder, store=tmp_path / "store", per_pass=3), listen)
    assert events.done == (150, 0, 0)
    assert model.most <= 3
    assert max(alive) <= 3
    assert max(descriptors[50:]) <= max(descriptors[:50]), descriptors


LIMITED = """
import resource
import numpy as np
from pathlib import Path
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.tasks import Classification

MIB = 1 << 20
rng = np.random.default_rng(0)


def predict(weights, x):
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:  # from here on, threads and all are there
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + 600 * MIB, resource.RLIM_INFINITY))
    large = np.empty((len(x), 16 * MIB // 8))  # 16 MiB a row: 64 rows do not fit, 16 do
    large[:, 0] = x[:, 0]
    return x @ weights["w"] + weights["b"] + 0 * large[:, :1]


evaluation = Evaluation(
    model=FunctionModel(predict),
    data={"test": Arrays(rng.normal(size=(128, 8)).astype(np.float32), rng.integers(0, 10, 128))},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
    batch_size=64,
)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_process_with_a_real_limit(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "ev.py"
    file.write_text(LIMITED)
    ended = command("run", file, folder, "--store", tmp_path / "store", "--json")
    assert ended.returncode == 0, ended.stderr
    assert lines_of(ended.stdout).done == (4, 0, 0)
    assert "memory ran out" in ended.stderr
    used = set().union(*sizes(tmp_path / "store").values())
    assert used <= {16, 32}


def test_torch_lets_go_of_its_weights() -> None:
    torch = pytest.importorskip("torch")
    from milepost.models.torch import TorchModel

    model = TorchModel(lambda: torch.nn.Linear(3, 2))
    arrays = {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(2, np.float32)}
    inputs = np.ones((4, 3), np.float32)
    first = model.load(arrays)
    expected = model.predict(first, inputs).tolist()
    held = weakref.ref(first.tensors[0])
    del first
    gc.collect()
    assert held() is not None  # the module's own parameters are it
    model.release()
    gc.collect()
    assert held() is None
    assert model.predict(model.load(arrays), inputs).tolist() == expected
