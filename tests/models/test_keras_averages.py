"""Averages that optimizers of Keras keep: they may stand in the weights' place, and the file does not say."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from milepost.checkpoints.discovery import find
from milepost.checkpoints.reader import Reader
from milepost.errors import Mismatch
from milepost.models.keras import KerasModel
from milepost.restore.matching import Restored, restore

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras' own
    pytest.mark.filterwarnings("ignore:You are saving your model:UserWarning"),
]


def build(library: Any) -> Any:
    return library.Sequential([library.layers.Input((3,)), library.layers.Dense(2, name="d")])


def fitted(library: Any, optimizer: Any) -> Any:
    net = build(library)
    net.compile(optimizer, "mse")
    net.fit(np.eye(3, dtype=np.float32), np.ones((3, 2), np.float32), epochs=2, verbose=0)
    return net


class Averaging(tf_keras.optimizers.legacy.SGD):  # type: ignore[misc]
    """Keeps what TensorFlow Addons' wrappers keep: a slot `average` for each variable."""

    def _create_slots(self, var_list: Any) -> None:
        super()._create_slots(var_list)
        for variable in var_list:
            self.add_slot(variable, "average")


def restored(library: Any, path: Path, variant: str, place: str | None = None) -> Restored:
    (found,) = find([str(path)])
    table = Reader().table(found, str(path.parent))
    return restore(table, KerasModel(lambda: build(library)).variables(), variant, place=place)


def saved(kind: str, folder: Path) -> tuple[Any, Any, Path]:
    """Return the library, the model and the file of one kind."""
    if kind == "slots":
        net = fitted(tf_keras, Averaging(0.1))
        net.save_weights(folder / "m")
        return tf_keras, net, folder / "m.index"
    library = tf_keras if kind.startswith("tf_keras") else keras
    net = fitted(library, library.optimizers.Adam(use_ema=True))
    path = folder / f"m.{kind.rpartition(' ')[2]}"
    net.save(path)
    return library, net, path


@pytest.mark.parametrize("kind", ["keras keras", "keras h5", "tf_keras h5", "tf_keras keras", "slots"])
def test_what_an_optimizer_averaged_is_asked_about(kind: str, tmp_path: Path) -> None:
    library, net, path = saved(kind, tmp_path)
    for variant in ("raw", "ema"):
        with pytest.raises(Mismatch) as asked:
            restored(library, path, variant)
        assert 'Evaluation(variants={"raw": ""}) or Evaluation(variants={"ema": ""})' in str(asked.value)
        found = restored(library, path, variant, "")
        assert [item.tolist() for item in found.arrays.values()] == [item.tolist() for item in net.get_weights()]


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.weights.h5"])
def test_without_averages_nothing_is_asked(name: str, tmp_path: Path) -> None:
    net = fitted(keras, keras.optimizers.Adam())
    (net.save_weights if name.endswith(".weights.h5") else net.save)(tmp_path / name)
    assert len(restored(keras, tmp_path / name, "raw").arrays) == 2


def test_the_end_of_fit_does_put_averages_in_place(tmp_path: Path) -> None:
    """Why it is asked: one file of an epoch, one of the end, and only the second holds averages."""
    net = build(keras)
    net.compile(keras.optimizers.SGD(0.1, use_ema=True), "mse")
    kept = keras.callbacks.ModelCheckpoint(tmp_path / "epoch.keras")
    net.fit(np.eye(3, dtype=np.float32), np.ones((3, 2), np.float32), epochs=3, verbose=0, callbacks=[kept])
    net.save(tmp_path / "end.keras")
    average = net.optimizer._model_variables_moving_average[0]  # noqa: SLF001 - the judge's
    values = [restored(keras, tmp_path / name, "raw", "").arrays["d/kernel"] for name in ("epoch.keras", "end.keras")]
    assert np.array_equal(values[1], tf.convert_to_tensor(average).numpy())
    assert not np.array_equal(values[0], values[1])


@pytest.mark.parametrize(("name", "noted"), [("Adam", True), ("SGD", False)])
def test_weights_beside_numbered_variables_of_an_optimizer_say_what_is_unknown(
    name: str, noted: bool, tmp_path: Path
) -> None:
    net = fitted(keras, getattr(keras.optimizers, name)(use_ema=noted))
    net.save_weights(tmp_path / "m.weights.h5")
    (found,) = find([str(tmp_path / "m.weights.h5")])
    notes = " ".join(Reader().table(found, str(tmp_path)).notes)
    assert ("use_ema" in notes) == noted
    expected = [item.tolist() for item in net.get_weights()]
    arrays = restored(keras, tmp_path / "m.weights.h5", "raw").arrays
    assert [item.tolist() for item in arrays.values()] == expected
