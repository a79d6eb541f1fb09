"""Odd outcomes and bad checkpoints: counted, refused by name, and never the end of a run."""

import pickle
from functools import partial
from pathlib import Path

import numpy as np
from tests._material import (
    CLASSES,
    checkpoints,
    evaluation_of,
    examples,
    go,
    linear,
    save,
    weights_of,
)

from milepost.core.types import Array
from milepost.models.numpy import FunctionModel

# ----------------------------------------------------------------------------------------------------- odd outcomes


def test_constant_logits_score_chance(tmp_path: Path, store: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100)
    _, labels = examples(700)

    def flat(weights: dict[str, Array], inputs: Array) -> Array:
        nothing = 0 * (weights["w"].sum() + weights["b"].sum())
        return np.full((len(inputs), CLASSES), nothing, np.float32)

    events = go(evaluation_of(predict=flat), folder, store=store)
    assert events.value("top1") == (labels == 0).mean()
    assert events.value("top5") == (labels < 5).mean()
    assert {record["tied"] for record in events.of("record")} == {700}
    assert "step-100 on test: all 700 rows are predicted as class 0" in events.notes


def test_nonfinite_rows_are_wrong_and_counted(tmp_path: Path, store: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100)
    inputs, labels = examples(700)
    bad = inputs[:, 1] > 1.5

    def spoiling(weights: dict[str, Array], inputs: Array) -> Array:
        outputs = linear(weights, inputs)
        outputs[inputs[:, 1] > 1.5, 3] = np.nan
        return outputs

    events = go(evaluation_of(predict=spoiling), folder, store=store)
    count = int(bad.sum())
    assert 0 < count < 700
    assert {record["nonfinite"] for record in events.of("record")} == {count}
    good = linear(weights_of(100), inputs).argmax(axis=1) == labels
    assert events.value("top1") == (good & ~bad).sum() / 700
    assert events.value("cross_entropy") is None
    assert all(record["n"] == 700 for record in events.of("record"))


# --------------------------------------------------------------------------------------------------- bad checkpoints


def test_bad_files_are_rows_and_the_run_goes_on(folder: Path, store: Path) -> None:
    (folder / "bare.pt").write_bytes(pickle.dumps({"w": 1}))
    (folder / "noise.pt").write_bytes(np.random.default_rng(0).bytes(5000))
    whole = (folder / "step-100.npz").read_bytes()
    (folder / "step-150.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(folder / "step-250.npz", w=np.full((8, 10), np.nan, np.float32), b=np.zeros(10, np.float32))
    np.savez(folder / "step-260.npz", w2=np.ones((8, 10), np.float32), b=np.zeros(10, np.float32))
    np.savez(folder / "step-270.npz", w=np.ones((10, 8), np.float32), b=np.zeros(10, np.float32))
    variables = {"w": (8, 10), "b": (10,)}
    evaluation = evaluation_of(model=FunctionModel(linear, variables))
    events = go(evaluation, folder, store=store)
    assert events.done == (3, 0, 6)
    failures = events.failures
    assert failures["bare.pt"].startswith("unsafe: ")
    assert failures["noise.pt"].startswith("corrupt: ")
    assert failures["step-150.npz"].startswith("torn: ")
    assert "nonfinite weights: 80 of 80 values of w" in failures["step-250.npz"]
    assert "w (nearest: w2)" in failures["step-260.npz"]
    assert "w2 (nearest: w)" in failures["step-260.npz"]
    assert "w has shape [10, 8], the model wants [8, 10] (transposed?)" in failures["step-270.npz"]
    # They stay rows, and what was torn is tried again.
    assert go(evaluation, folder, store=store).done == (0, 3, 6)
    checkpoints(folder, 150)
    assert go(evaluation, folder, store=store).done == (1, 3, 5)


def test_a_tensor_that_is_never_read_is_a_mismatch_unless_ignored(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "lenet"
    folder.mkdir()
    save(folder / "step-1.npz", weights_of(1), head=np.ones(3, np.float32))
    events = go(evaluation_of(), folder, store=store)
    assert "mismatch: predict never read 1 tensors of the checkpoint: head" in events.failures["step-1.npz"]
    events = go(
        evaluation_of(model=FunctionModel(linear, ignore=["head"]), version="2"), folder, store=tmp_path / "other"
    )
    assert events.done == (1, 0, 0)


def test_dropout_left_on_is_a_stochastic_model(folder: Path, store: Path) -> None:
    noise = np.random.default_rng(0)

    def dropped(weights: dict[str, Array], inputs: Array) -> Array:
        return linear(weights, inputs * (noise.random(inputs.shape) < 0.5))

    events = go(evaluation_of(predict=dropped), folder, store=store)
    assert events.done == (0, 0, 3)
    assert all(message.startswith("stochastic model: two predictions") for message in events.failures.values())
    assert "dropout left on" in events.failures["step-100.npz"]


def test_batch_statistics_are_a_stochastic_model(folder: Path, store: Path) -> None:
    def normed(weights: dict[str, Array], inputs: Array) -> Array:
        return linear(weights, inputs - inputs.mean(axis=0))

    events = go(evaluation_of(predict=normed), folder, store=store)
    assert "stochastic model: " in events.failures["step-100.npz"]
    assert "batch normalisation in training mode" in events.failures["step-100.npz"]


def test_modules_that_are_forced_into_training_are_refused(tmp_path: Path, store: Path) -> None:
    import torch
    from torch import nn

    from milepost.models.torch import TorchModel

    class Stuck(nn.Module):
        """A module that ignores `eval()` in the way that models in the wild do."""

        def __init__(self, kind: str) -> None:
            super().__init__()
            self.line = nn.Linear(8, 10)
            self.odd: nn.Module = nn.Dropout(0.5) if kind == "dropout" else nn.BatchNorm1d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.odd.train()
            return torch.as_tensor(self.line(self.odd(x)))

    for kind, cause in (("dropout", "odd (Dropout)"), ("norm", "odd (BatchNorm1d)")):
        folder = tmp_path / kind
        folder.mkdir()
        torch.save(Stuck(kind).state_dict(), folder / "step-1.pt")
        evaluation = evaluation_of(model=TorchModel(partial(Stuck, kind)))
        events = go(evaluation, folder, store=tmp_path / f"store-{kind}")
        assert events.failures["step-1.pt"].startswith("stochastic model: ")
        assert cause in events.failures["step-1.pt"]


def test_a_file_that_vanishes_or_changes_in_between_is_a_row(folder: Path, store: Path) -> None:
    def meddling(weights: dict[str, Array], inputs: Array) -> Array:
        (folder / "step-300.npz").unlink(missing_ok=True)
        return linear(weights, inputs)

    events = go(evaluation_of(predict=meddling), folder, store=store, per_pass=1)
    assert events.done == (2, 0, 1)
    assert events.failures["step-300.npz"].startswith("vanished: ")
