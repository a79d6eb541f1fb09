"""What a message says of models that give one number a row, followed in each framework: the right rows are right."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from tests._material import go

from milepost.data.arrays import Arrays
from milepost.errors import DataError
from milepost.evaluation.definition import Evaluation
from milepost.metrics.top_k import TopK
from milepost.models.keras import KerasModel
from milepost.models.torch import TorchModel
from milepost.tasks.classification import Classification

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own

INPUTS = np.random.default_rng(3).normal(size=(200, 4)).astype(np.float32)
WEIGHTS = np.array([[1.0], [-2.0], [0.5], [1.5]], np.float32)
LOGIT = (INPUTS @ WEIGHTS)[:, 0]
LABELS = (LOGIT > 0) ^ (np.arange(200) % 5 == 0)  # four rows of five
ADVICE = {
    "probabilities": "of one probability p a row, that of class 1, let it return the columns [1 - p, p]",
    "logits": "of one logit s a row, let it return the columns [0, s]; of one probability p a row, which a sigmoid gi",
    "scores": "of one score s a row, let it return the columns [t, s], t the score above which a row counts as class 1",
}


def trained(outputs: str) -> Any:
    activation = "sigmoid" if outputs == "probabilities" else None
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1, activation=activation)])
    model.set_weights([WEIGHTS, np.zeros(1)])
    return model


def keras_columns(outputs: str) -> Any:
    model = trained(outputs)
    last = model.outputs[0]
    return keras.Model(
        model.inputs, keras.layers.Concatenate()([1 - last if outputs == "probabilities" else 0 * last, last])
    )


class Net(torch.nn.Module):
    def __init__(self, outputs: str) -> None:
        super().__init__()
        self.outputs = outputs
        self.dense = torch.nn.Linear(4, 1)

    def forward(self, inputs: Any) -> Any:
        last = self.dense(inputs)
        return last.sigmoid() if self.outputs == "probabilities" else last


class Columns(Net):
    def forward(self, inputs: Any) -> Any:
        last = super().forward(inputs)
        return torch.cat([1 - last if self.outputs == "probabilities" else 0 * last, last], dim=1)


def saved_by_keras(folder: Path, outputs: str) -> None:
    trained(outputs).save_weights(folder / "step-1.weights.h5")


def saved_by_torch(folder: Path, _: str) -> None:
    torch.save({"dense.weight": torch.from_numpy(WEIGHTS.T.copy()), "dense.bias": torch.zeros(1)}, folder / "step-1.pt")


@pytest.mark.parametrize("outputs", ["probabilities", "logits", "scores"])
@pytest.mark.parametrize(
    ("save", "model"),
    [
        (saved_by_keras, lambda outputs: KerasModel(lambda: keras_columns(outputs))),
        (saved_by_torch, lambda outputs: TorchModel(lambda: Columns(outputs))),
    ],
    ids=["keras", "torch"],
)
def test_two_columns_are_scored_as_one_number_is(
    save: Callable[[Path, str], None], model: Callable[[str], Any], outputs: Any, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    save(tmp_path / "runs", outputs)
    evaluation = Evaluation(
        model=model(outputs),
        data={"test": Arrays(INPUTS, LABELS.astype(np.int64))},
        task=Classification(outputs=outputs),
        metrics=[TopK(1)],
        version="1",
    )
    events = go(evaluation, tmp_path / "runs", store=tmp_path / "store")
    assert events.value("top1") == 0.8
    assert not [note for note in events.notes if "untrained" in note]


@pytest.mark.parametrize("outputs", list(ADVICE))
def test_one_column_gets_the_advice_of_what_is_declared(outputs: Any) -> None:
    with pytest.raises(DataError) as caught:
        Classification(outputs=outputs).reduce(np.zeros((200, 1)), LABELS.astype(np.int64), frozenset({"rank"}))
    assert f"; the model gave (200, 1): {ADVICE[outputs]}" in str(caught.value)
    assert "torch" not in str(caught.value)
