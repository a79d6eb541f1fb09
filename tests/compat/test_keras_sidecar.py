"""The sidecar of Keras, on both generations: every checkpoint, in order, once; what is unfinished is waited for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from milepost.compat import keras_sidecar
from milepost.compat.keras import SidecarEvaluator
from milepost.errors import UsageError

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning",  # Keras' own
)
X = np.random.default_rng(1).random((20, 5)).astype("f4")
Y = np.arange(20) % 3


def compiled(kit: Any) -> Any:
    model = kit.Sequential([kit.layers.Input((5,)), kit.layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model


def with_seed(model: Any, seed: int) -> Any:
    draw = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(draw.random(weight.shape))
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(seed * 10)
    return model


def expected(kit: Any, seed: int) -> dict[str, float]:
    logs: dict[str, float] = with_seed(compiled(kit), seed).evaluate(X, Y, verbose=0, return_dict=True)
    return logs


class Noted:
    """A callback of either generation that notes its hooks and may do something when a test ends."""

    def __init__(self, at_end: Callable[[Any], object] = lambda model: None) -> None:
        self.seen: list[tuple[str, int]] = []
        self.at_end = at_end
        self.model: Any = None

    def of(self, kit: Any) -> Any:
        noted = self

        class Callback(kit.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
            def on_test_begin(self, logs: Any = None) -> None:
                noted.seen.append(("begin", int(self.model.optimizer.iterations)))

            def on_test_end(self, logs: Any = None) -> None:
                noted.seen.append(("end", len(logs)))
                noted.at_end(self.model)

        return Callback()


def fast(*arguments: Any, **more: Any) -> SidecarEvaluator:
    made = SidecarEvaluator(*arguments, **more)
    made.poll_seconds = 0.01
    return made


@pytest.mark.parametrize("kit", [keras, tf_keras], ids=["keras 3", "keras 2"])
def test_every_checkpoint_is_evaluated_once_under_keras_names(kit: Any, tmp_path: Path) -> None:
    source = compiled(kit)
    saver = tf.train.Checkpoint(model=source, optimizer=source.optimizer)
    for seed in (1, 2, 3):
        with_seed(source, seed)
        saver.save(str(tmp_path / "ckpt"))
    noted = Noted()
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(7)
    sidecar = fast(compiled(kit), data, str(tmp_path), max_evaluations=3, callbacks=[noted.of(kit)])
    results = sidecar.start()
    assert [Path(one.checkpoint).name for one in results] == ["ckpt-1", "ckpt-2", "ckpt-3"]
    assert [one.step for one in results] == [10, 20, 30]
    for seed, one in zip((1, 2, 3), results, strict=True):
        assert one.failure is None, one
        assert one.logs == pytest.approx(expected(kit, seed), rel=1e-5)
    assert [step for what, step in noted.seen if what == "begin"] == [10, 20, 30]
    assert len({one.digest for one in results}) == 3
    assert sidecar.results is results


def test_what_is_unfinished_is_waited_for_and_what_is_damaged_is_a_result(tmp_path: Path) -> None:
    source = compiled(keras)
    paths = [tmp_path / f"epoch-{seed}.weights.h5" for seed in (1, 2, 3, 4)]
    contents = []
    for seed, path in zip((1, 2, 2, 4), paths, strict=True):
        with_seed(source, seed).save_weights(path)
        contents.append(path.read_bytes())
    paths[1].write_bytes(contents[1][:-100])  # still being written
    paths[0].write_bytes(contents[0][:9] + b"\xff" * 12 + contents[0][21:])  # damaged
    paths[3].unlink()
    noted = Noted(lambda model: (paths[1].write_bytes(contents[1]), paths[3].write_bytes(contents[3])))
    results = fast(compiled(keras), (X, Y), str(tmp_path), max_evaluations=4, callbacks=[noted.of(keras)]).start()
    names = {Path(one.checkpoint).name.split(".")[0]: one for one in results}
    assert sorted(names) == ["epoch-1", "epoch-2", "epoch-3", "epoch-4"]
    failure = names["epoch-1"].failure
    assert failure is not None
    assert failure.kind == "corrupt"
    assert names["epoch-2"].digest == names["epoch-3"].digest
    assert names["epoch-2"].logs == names["epoch-3"].logs == pytest.approx(expected(keras, 2), rel=1e-5)
    assert sum(what == "end" for what, _ in noted.seen) == 2  # one content is evaluated once


def test_each_evaluation_s_numbers_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras_sidecar, "_SILENCE_SECONDS", 0.0)
    monkeypatch.setattr("time.sleep", lambda _: written())

    def written() -> None:
        """Write what the sidecar has waited for."""
        with_seed(compiled(keras), 1).save_weights(tmp_path / "epoch-1.weights.h5")
        keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)]).save_weights(
            tmp_path / "epoch-2.weights.h5"
        )
        (tmp_path / "DONE").touch()

    with caplog.at_level("INFO", logger="milepost"):
        first, _ = fast(compiled(keras), (X, Y), str(tmp_path)).start()
    logged = [
        (record.levelname, record.getMessage()) for record in caplog.records if record.name.startswith("milepost")
    ]
    assert logged[0][1].startswith(f"No checkpoints appear to be found in {tmp_path} for ")
    numbers = " ".join(f"{name}={value:.6g}" for name, value in first.logs.items())
    assert logged[1] == ("INFO", f"End of evaluation of epoch-1.weights.h5 at step 10: {numbers}")
    assert logged[2][0] == "WARNING"
    assert logged[2][1].startswith("epoch-2.weights.h5 was not evaluated: mismatch: ")
    assert len(logged) == 3
    assert "loss=" in numbers


def test_a_checkpoint_that_nobody_finishes_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "epoch-1.weights.h5"
    with_seed(compiled(keras), 1).save_weights(path)
    path.write_bytes(path.read_bytes()[:-100])
    (tmp_path / "DONE").touch()
    sidecar = fast(compiled(keras), (X, Y), str(tmp_path))
    sidecar.torn_seconds = 0.05
    (only,) = sidecar.start()
    assert only.failure is not None
    assert only.failure.kind == "torn"


def test_a_model_of_another_shape_is_a_result_too(tmp_path: Path) -> None:
    other = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    other.compile("adam")
    with_seed(other, 23).save_weights(tmp_path / "epoch-1.weights.h5")
    (tmp_path / "DONE").touch()
    (only,) = fast(compiled(keras), (X, Y), str(tmp_path)).start()
    assert only.failure is not None
    assert only.failure.kind == "mismatch"
    assert only.step == 230  # what the file tells, as where it is evaluated, not the 1 of its name
    assert "kernel has shape [4, 3], the model wants [5, 3]" in only.failure.message


def test_an_unbuilt_model_is_shown_a_batch_and_one_that_is_not_compiled_is_refused(tmp_path: Path) -> None:
    with_seed(compiled(keras), 1).save_weights(tmp_path / "epoch-1.weights.h5")
    (tmp_path / "DONE").touch()
    for data in ((X, Y), tf.data.Dataset.from_tensor_slices((X, Y)).batch(7)):
        model = keras.Sequential([keras.layers.Dense(3, activation="softmax")])
        with pytest.raises(UsageError, match="is not compiled"):
            fast(model, data, str(tmp_path)).start()
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        (only,) = fast(model, data, str(tmp_path)).start()
        assert only.logs == pytest.approx(expected(keras, 1), rel=1e-5)


@pytest.mark.parametrize(
    ("names", "most"), [(["model-500"], 2), (["a", "b"], 2), (["epoch-1", "epoch-2"], 2)], ids=["beyond", "none", "two"]
)
def test_the_end_is_a_number_of_a_name_and_a_count_only_without_one(
    names: list[str], most: int, tmp_path: Path
) -> None:
    for seed, name in enumerate(names, 1):
        with_seed(compiled(keras), seed).save_weights(tmp_path / f"{name}.weights.h5")
    results = fast(compiled(keras), (X, Y), str(tmp_path), max_evaluations=most).start()
    assert [Path(one.checkpoint).name for one in results] == [f"{name}.weights.h5" for name in names]


def test_a_failure_of_the_number_is_the_end_too(tmp_path: Path) -> None:
    keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)]).save_weights(tmp_path / "ckpt-7.weights.h5")
    (only,) = fast(compiled(keras), (X, Y), str(tmp_path), max_evaluations=7).start()
    assert only.failure is not None
