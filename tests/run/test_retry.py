"""`failures --retry`: what failed is tried once more, whatever its class, and then rests again."""

from pathlib import Path

import numpy as np
from tests._material import checkpoints, evaluation_of, go, linear, save, weights_of

from milepost.cli import main
from milepost.core.types import Array


def test_a_model_that_failed_is_tried_again_only_when_asked(tmp_path: Path) -> None:
    folder, store = checkpoints(tmp_path / "lenet", 100, 200), tmp_path / "evals"
    state = {"broken": True, "calls": 0}

    def predict(weights: dict[str, Array], inputs: Array) -> Array:
        state["calls"] += 1
        if state["broken"]:
            raise RuntimeError("no such luck")
        return linear(weights, inputs)

    assert go(evaluation_of(predict=predict), folder, store=store).done == (0, 0, 2)
    assert go(evaluation_of(predict=predict), folder, store=store).done == (0, 0, 2)
    assert main(["failures", "--store", str(store), "--retry", "100"]) == 0
    events = go(evaluation_of(predict=predict), folder, store=store)  # still broken: the retry request is used up
    assert [item["attempts"] for item in events.of("failure") if item["step"] == 100] == [2]
    before = state["calls"]
    assert go(evaluation_of(predict=predict), folder, store=store).done == (0, 0, 2)
    assert state["calls"] - before <= 2  # the model check's own, none for a checkpoint
    state["broken"] = False
    assert go(evaluation_of(predict=predict), folder, store=store).done == (0, 0, 2)
    assert main(["failures", "--store", str(store), "--retry"]) == 0
    assert go(evaluation_of(predict=predict), folder, store=store).done == (2, 0, 0)


def test_a_file_that_failed_is_read_again_when_asked(tmp_path: Path) -> None:
    folder, store = checkpoints(tmp_path / "lenet", 100), tmp_path / "evals"
    save(folder / "step-200.npz", {**weights_of(1), "b": np.full(3, np.nan, np.float32)})
    (folder / "step-300.pt").write_bytes(b"<html>not found</html>")
    attempts = []
    for retry in (False, False, True, False):
        if retry:
            assert main(["failures", "--store", str(store), "--retry"]) == 0
        events = go(evaluation_of(), folder, store=store)
        attempts.append({item["step"]: item["attempts"] for item in events.of("failure")})
    assert attempts == [{200: 1, 300: 1}, {200: 1, 300: 1}, {200: 2, 300: 2}, {200: 2, 300: 2}]
