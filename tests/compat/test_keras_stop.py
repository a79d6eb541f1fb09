"""StopTraining within a real `model.fit`, of Keras 3 and of tf_keras."""

from typing import Any

import keras
import numpy as np
import pytest
import tf_keras

from milepost.compat.keras import StopTraining
from milepost.signals import Signal, Signals

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning",  # Keras' own
)
X, Y = np.random.default_rng(1).random((20, 5)).astype("f4"), np.arange(20) % 3


class Known(Signals):
    """Signals of a run whose newest checkpoints are clearly worse."""

    def __init__(self) -> None:
        super().__init__("/no/such/store", "run", "top1")

    def history(self, until: int | None = None) -> tuple[Signal, ...]:
        values = {1: 0.9, 2: 0.1, 3: 0.1}
        return tuple(
            Signal(step, value, (value - 0.05, value + 0.05), 1000, f"step-{step}", f"/run/step-{step}", str(step))
            for step, value in values.items()
            if until is None or step <= until
        )


@pytest.mark.parametrize("kit", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_fit_ends_once_the_newest_are_worse(kit: Any) -> None:
    model = kit.Sequential([kit.layers.Input((5,)), kit.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    callback = StopTraining(Known(), patience=1, step=lambda model: int(model.optimizer.iterations))
    done = model.fit(X, Y, batch_size=20, epochs=5, verbose=0, callbacks=[callback])
    assert len(done.epoch) == 2  # at step 1 nothing is worse; step 2 is
    assert callback.stopped_epoch == 1
    assert "can be better than step 1" in callback.reason
