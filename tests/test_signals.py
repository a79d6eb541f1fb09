"""What a trainer reads: nothing known yet, the latest, the best, and a rule that noise does not move."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests._material import checkpoints, evaluation_of, examples, go, linear, weights_of

from milepost.compat.keras import StopTraining
from milepost.core.types import Identity
from milepost.errors import UsageError
from milepost.signals import Signal, Signals, StopWhen
from milepost.stats.wilson import wilson
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.store import Store

ROWS = 1000


def put(store: Store, step: int, correct: int, **changes: Any) -> None:
    """Put a checkpoint and its record, as a run leaves them."""
    made: dict[str, Any] = {
        "rows": ROWS,
        "status": "ok",
        "metric": "top1",
        "data": "test",
        "name": f"step-{step}",
        "intervals": True,
    }
    made |= changes
    seen = made.get("seen", "2026-01-01T00:00:00Z")
    digest = made.get("digest", f"{step:08x}{correct:08x}" * 2)
    run = store.run_of("/models/lenet")
    identity = Identity(1, step, 1, correct, 1)
    path = f"/models/lenet/{made['name']}.pt"
    store.add_checkpoint(CheckpointRecord(run, path, identity, made["name"], step=step, digest=digest, seen=seen))
    folder = store.evaluation(made.get("key", digest))
    fingerprint = made.get("fingerprint", made["data"])
    spec = {"weights": digest, "data": fingerprint, "data_name": made["data"], "created": seen}
    folder.describe(spec | ({"missing": {"variables": 1, "of": 2, "names": []}} if made.get("partial") else {}))
    span = wilson(correct, ROWS)
    spans = [{"low": span.low, "high": span.high, "level": 0.95, "method": "wilson", "kind": "population"}]
    entry = {"metric": made["metric"], "value": made.get("value", correct / ROWS), "n": made["rows"]}
    record = {
        "schema": 1,
        "metric": {"name": "top_k", "k": 1},
        "estimator": "exact",
        "batch_size": None,
        "coverage": [[0, made["rows"]]],
        "size": ROWS,
        "data": made["data"],
        "slice": "all",
        "status": made["status"],
        "direction": made.get("direction", "higher"),
        "values": [{**entry, "intervals": spans if made["intervals"] else [], "tied": 0, "nonfinite": 0}],
    }
    folder.results.publish([(record, {})])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "evals")


def signals(store: Store, metric: str = "top1", **options: Any) -> Signals:
    return Signals(store.path, "lenet", metric, every=0, **options)


def test_nothing_known_yet_is_no_error(tmp_path: Path) -> None:
    early = Signals(tmp_path / "evals", "lenet", "top1", every=0)
    assert (early.latest(), early.best(), early.history(), early.should_stop(1)) == (None, None, (), False)
    assert "found no store.json" in early.problem
    made = Store.create(tmp_path / "evals")
    assert early.latest() is None
    assert early.problem.startswith("no run 'lenet' in")
    put(made, 100, 500)
    latest = early.latest()
    assert latest is not None
    assert (latest.step, latest.value, latest.n, latest.name) == (100, 0.5, ROWS, "step-100")
    assert early.problem == ""


@pytest.mark.parametrize("damage", ["store.json", "record", "checkpoint", "folder"])
def test_a_damaged_store_never_raises(store: Store, damage: str) -> None:
    put(store, 100, 500)
    reader = signals(store)
    assert reader.latest() is not None
    put(store, 200, 510)
    files = {
        "store.json": "store.json",
        "record": "evaluations/*/000000c8*/results.*.npz",
        "checkpoint": "runs/lenet/checkpoints/*.json",
    }
    if damage == "folder":
        (store.path / "runs").rename(store.path / "gone")
    else:
        for path in store.path.glob(files[damage]):
            path.write_text("[1", encoding="ascii")
    known = reader.history()
    assert known[0].step == 100  # what was known stays known
    fresh = signals(store)
    assert fresh.should_stop(1) is False
    assert fresh.problem if damage != "record" else True


def test_latest_and_best_and_what_does_not_count(store: Store) -> None:
    for step, correct in ((100, 500), (200, 700), (300, 650)):
        put(store, step, correct)
    put(store, 400, 990, status="partial 256/1000", rows=256)
    put(store, 500, 990, partial=True)
    put(store, 600, 990, value=None)
    put(store, 700, 990, metric="top5")
    reader = signals(store)
    best, latest = reader.best(), reader.latest()
    assert best is not None
    assert latest is not None
    assert (best.step, best.value, latest.step, latest.value) == (200, 0.7, 300, 0.65)
    assert best.interval == (wilson(700, ROWS).low, wilson(700, ROWS).high)  # as the record has it
    put(store, 400, 400, digest="ab" * 16, name="last")
    assert [item.step for item in reader.history()] == [100, 200, 300, 400]
    assert [item.step for item in reader.history(until=250)] == [100, 200]


def test_lower_is_better_where_the_metric_says_so(store: Store) -> None:
    for step, loss in ((100, 2.0), (200, 0.5), (300, 0.75), (400, "inf")):
        put(store, step, 1, metric="cross_entropy", value=loss, direction="lower", intervals=False)
    reader = signals(store, "cross_entropy")
    best = reader.best()
    assert best is not None
    assert best.step == 200
    assert reader.should_stop(2)
    assert not reader.should_stop(3)  # step 200 is among the newest three


def test_a_plateau_and_noise(store: Store) -> None:
    """At 70 % of 1000 rows an interval reaches 2.8 points: an improvement by one may hide in it, one by five cannot."""
    for step in range(100, 600, 100):
        put(store, step, 700 - step // 100)
    reader = signals(store)
    careful = reader.verdict(patience=3)
    assert not careful.stop
    assert "step 500 may still be better than step 100" in careful.reason
    assert not reader.should_stop(3, min_delta=0.01)
    assert reader.should_stop(3, min_delta=0.05)
    assert "none of the newest 3 evaluated checkpoints can be better than step 100 (0.699) by more than 0.05" in (
        reader.verdict(3, 0.05).reason
    )
    put(store, 600, 760)
    assert not reader.should_stop(3, min_delta=0.05)
    assert "step 600 improved on step 100" in reader.verdict(3, 0.05).reason


def test_clearly_worse_ends_it_whatever_min_delta(store: Store) -> None:
    for step, correct in ((100, 700), (200, 600), (300, 590)):
        put(store, step, correct)
    assert signals(store).should_stop(2)
    assert not signals(store).should_stop(3)
    for patience, least in ((0, 0.0), (1, -0.1), (1, float("nan"))):
        with pytest.raises(UsageError, match="expected at least 1 checkpoint"):
            signals(store).should_stop(patience, least)


values = st.lists(st.integers(0, ROWS), min_size=1, max_size=12)


@given(values, st.integers(1, 4), st.sampled_from([0.0, 0.01, 0.1]))
@settings(max_examples=60, deadline=None)
def test_laws_of_stopping(counts: list[int], patience: int, least: float) -> None:
    def known(counts: list[int], *, spans: bool) -> Signals:
        made = Signals("/no/such/store", "lenet", "top1", every=1e9)
        made.latest()
        span = [wilson(count, ROWS) for count in counts]
        made._known = tuple(
            Signal(step, count / ROWS, (one.low, one.high) if spans else None, ROWS, "", "", "")
            for step, (count, one) in enumerate(zip(counts, span, strict=True))
        )
        return made

    uncertain, certain = known(counts, spans=True), known(counts, spans=False)
    stops = uncertain.should_stop(patience, least)
    assert not stops or certain.should_stop(patience, least)  # uncertainty only ever makes it more patient
    assert not stops or uncertain.should_stop(patience, least + 0.1)
    assert len(counts) > patience or not stops
    best = max(counts[:-patience], default=0)
    expected = len(counts) > patience and all(count / ROWS <= best / ROWS + least for count in counts[-patience:])
    assert certain.should_stop(patience, least) == expected
    assert not known([*counts, ROWS], spans=True).should_stop(1, 0.0) or max(counts) == ROWS


def test_a_restarted_trainer_is_not_judged_by_what_it_left(store: Store) -> None:
    for step, correct in ((100, 700), (200, 600), (300, 500)):
        put(store, step, correct)
    stop = StopWhen(signals(store), patience=2)
    assert stop(300)
    assert "can be better than step 100" in stop.reason
    assert not stop(150)
    put(store, 200, 800, seen="2026-01-02T00:00:00Z")  # written over: what the path holds now counts
    assert [item.value for item in signals(store).history()] == [0.7, 0.8, 0.5]


def test_data_sets_are_not_mixed(store: Store) -> None:
    put(store, 100, 500)
    put(store, 200, 900, data="train")
    reader = signals(store)
    assert reader.best() is None
    assert "several data sets are on record: test, train; name one with data=" in reader.problem
    chosen = signals(store, data="test").best()
    assert chosen is not None
    assert chosen.step == 100
    put(store, 300, 100, data="test", fingerprint="another test set", seen="2026-01-02T00:00:00Z")
    assert [item.step for item in signals(store, data="test").history()] == [300]


def test_a_run_by_its_path_and_an_ambiguous_name(store: Store, tmp_path: Path) -> None:
    put(store, 100, 500)
    store.run_of("/elsewhere/lenet")
    assert Signals(store.path, "/models/lenet", "top1", every=0).latest() is not None
    assert signals(store).latest() is not None  # the id
    folders = [Store.create(tmp_path / "two")]
    for place in ("/a/checkpoints", "/b/checkpoints"):
        folders[0].run_of(place)
    assert Signals(folders[0].path, "checkpoints", "top1", every=0).latest() is None


def test_asking_at_every_step_looks_rarely(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, 100, 500)
    clock = [0.0]
    monkeypatch.setattr("milepost.signals.time.monotonic", lambda: clock[0])
    reader = Signals(store.path, "lenet", "top1", every=10.0)
    assert len(reader.history()) == 1
    put(store, 200, 600)
    looks: list[int] = []

    def read() -> tuple[Signal, ...]:
        looks.append(1)
        return ()

    monkeypatch.setattr(reader._reader, "read", read)
    for _ in range(1000):
        clock[0] += 0.009
        assert len(reader.history()) == 1
    assert not looks
    clock[0] += 1.1
    reader.history()
    assert looks == [1]


def test_a_look_that_finds_nothing_new_reads_no_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (100, 200):
        put(store, step, 500)
    reader = signals(store)
    reader.history()
    opened: list[str] = []
    real = os.open

    def noted(path: str, *rest: Any, **options: Any) -> int:
        opened.append(path)
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", noted)
    assert len(reader.history()) == 2
    assert opened == []
    put(store, 300, 510)
    opened.clear()
    assert len(reader.history()) == 3
    assert len(opened) == 2  # its checkpoint record, its results


def right(step: int) -> float:
    """Count by hand what the model gets right."""
    inputs, labels = examples(700)
    return int((linear(weights_of(step), inputs).argmax(1) == labels).sum()) / 700


def test_a_real_run_is_read_while_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100, 200, 300)
    go(evaluation_of(), folder, store=tmp_path / "evals")
    code = (
        "import json, sys; from milepost.signals import Signals; "
        f"made = Signals({str(tmp_path / 'evals')!r}, {str(folder)!r}, 'top1'); "
        "print(json.dumps([[item.step, item.value, item.n] for item in made.history()])); "
        "print(json.dumps(sorted(name for name in sys.modules if name.split('.')[0] in ('torch', 'rich', 'sqlite3'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    known, loaded = (json.loads(line) for line in done.stdout.splitlines())
    assert known == [[step, right(step), 700] for step in (100, 200, 300)]
    assert [name for name in loaded if name.startswith(("torch", "rich"))] == []


class Model:
    """As a Keras model, as far as a callback goes."""

    stop_training = False

    def fit(self, callbacks: list[Any], epochs: int) -> int:
        """Call the hooks in the order of Keras' documentation."""
        for callback in callbacks:
            callback.set_params({"epochs": epochs})
            callback.set_model(self)
            assert not callback._implements_train_batch_hooks()  # asked by Keras 2
            callback.on_train_begin(None)
        for epoch in range(epochs):
            for callback in callbacks:
                callback.on_epoch_begin(epoch, None)
                callback.on_train_batch_begin(0, logs={})
                callback.on_train_batch_end(0, logs={"loss": 1.0})
                callback.on_epoch_end(epoch, {"loss": 1.0})
            if self.stop_training:
                return epoch
        return epochs


def test_a_keras_callback_ends_training(store: Store) -> None:
    callback = StopTraining(signals(store), patience=1, step=lambda model: 300)
    model = Model()
    assert model.fit([callback], 3) == 3
    assert not model.stop_training
    for step, correct in ((100, 700), (200, 600), (400, 999)):
        put(store, step, correct)
    assert model.fit([callback], 3) == 0
    assert (model.stop_training, callback.stopped_epoch) == (True, 0)
    assert "can be better than step 100" in callback.reason
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = callback.no_such_thing
