"""What a user says of names: the same words, rules and errors for every adapter that builds a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import torch
from tests._material import command, go, save

from milepost.core.types import Array
from milepost.data.arrays import Arrays
from milepost.errors import UsageError
from milepost.evaluation.definition import Evaluation
from milepost.metrics.top_k import TopK
from milepost.models.keras import KerasModel
from milepost.models.tf1 import GraphModel
from milepost.models.torch import TorchModel
from milepost.tasks.classification import Classification

INPUTS, LABELS = np.eye(3, dtype=np.float32), np.array([0, 1, 2])
RIGHT, WRONG = np.eye(3, dtype=np.float32), np.roll(np.eye(3, dtype=np.float32), 1, axis=0)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Linear(3, 3, bias=False)
        self.head = torch.nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(RIGHT))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(inputs))  # type: ignore[no-any-return]


def keras_net() -> Any:
    dense = keras.layers.Dense
    head = dense(3, use_bias=False, name="head", kernel_initializer="identity")
    return keras.Sequential([keras.layers.Input((3,)), dense(3, use_bias=False, name="body"), head])


def graph(inputs: Any) -> Any:
    body = tf.get_variable("body/kernel", [3, 3])
    return inputs @ body @ tf.get_variable("head/kernel", initializer=tf.constant(RIGHT))


def torch_model(**names: Any) -> TorchModel:
    return TorchModel(Net, **names)


def keras_model(**names: Any) -> KerasModel:
    return KerasModel(keras_net, **names)


def graph_model(**names: Any) -> GraphModel:
    return GraphModel(graph, {"inputs": (tf.float32, [None, 3])}, **names)


MODELS = pytest.mark.parametrize(
    ("make", "body", "head"),
    [
        (torch_model, "body.weight", "head.weight"),
        (keras_model, "body/kernel", "head/kernel"),
        (graph_model, "body/kernel", "head/kernel"),
    ],
)
Make = Callable[..., Any]


def run(model: Any, folder: Path, arrays: dict[str, Array]) -> Any:
    (folder / "runs").mkdir(exist_ok=True)
    save(folder / "runs" / "step-1.npz", arrays)
    evaluation = Evaluation(
        model=model,
        data={"test": Arrays(INPUTS, LABELS)},
        task=Classification(outputs="logits"),
        metrics=[TopK(1)],
        version="1",
    )
    return go(evaluation, folder / "runs", store=folder / "store")


@MODELS
def test_every_word(make: Make, body: str, head: str, tmp_path: Path) -> None:
    sign = body[4]
    held = {f"old{sign}{body[5:]}": RIGHT, head.replace("head", "top"): RIGHT, f"aux{sign}w": WRONG}
    refused = run(make(), tmp_path, held).failures["step-1.npz"]
    assert "unexpected" in refused
    by_name = {f"old{sign}{body[5:]}": body, head.replace("head", "top"): head}
    for names in (
        {"restore": by_name, "ignore": ("aux*",)},
        {"restore": {f"old{sign}": f"body{sign}", f"top{sign}": f"head{sign}"}, "ignore": [f"aux{sign}w"]},
        {"rename": {r"^old": "body", r"^top": "head"}, "ignore": ("aux*",)},
        {"restore": {f"old{sign}": f"body{sign}"}, "rename": {"top": "head"}, "ignore": ("aux*",)},
    ):
        events = run(make(**names), tmp_path, held)
        assert events.value("top1") == 1.0, names
        assert "missing" not in events.notes


@MODELS
def test_kept_variables_mark_the_result(make: Make, body: str, head: str, tmp_path: Path) -> None:
    """The built head is right; the checkpoint's is wrong, and not read."""
    run(make(keep=(head,)), tmp_path, {body: RIGHT, head: WRONG})
    shown = command("ls", "--store", tmp_path / "store").stdout
    assert "PARTIAL: 1 of 2 variables missing" in shown
    assert "1.000" in shown
    with pytest.raises(UsageError, match=f"keep names 'tail', which the .* does not have; it has {body}, {head}"):
        run(make(keep=("tail",)), tmp_path, {body: RIGHT, head: WRONG})


@MODELS
def test_what_is_given_is_in_the_key_and_nothing_else_is(make: Make, body: str, head: str) -> None:
    """`spec` is what a key takes of a model: {} without names, so that keys of evaluations without them stay."""
    assert make().spec() == {}
    assert make(restore={}, keep=(), ignore=[], rename=None).spec() == {}
    name = make().name
    for names, recorded in (
        ({"restore": {"a": body}}, {"restore": {"a": body}}),
        ({"rename": {"b": "c", "a": "b"}}, {"rename": [["b", "c"], ["a", "b"]]}),
        ({"keep": [head, body]}, {"keep": sorted([head, body])}),
        ({"ignore": ("x",)}, {"ignore": ["x"]}),
    ):
        assert make(**names).spec() == {"name": name, **recorded}
        assert make(**names).on("cpu").spec() == make(**names).spec()


@MODELS
def test_the_same_errors(make: Make, body: str, head: str, tmp_path: Path) -> None:
    for names, message in (
        ({"keep": "head"}, r"keep is a list of names or patterns; found the text 'head': write \['head'\]"),
        ({"ignore": "head"}, "ignore is a list of names"),
        ({"restore": [1]}, "restore is a dict of old names and new ones; found a list"),
        ({"restore": {"a/": "b"}}, r"expected a checkpoint's name and a variable's, or two scopes that end in"),
        ({"rename": {"(": "b"}}, r"rename=\{'\(': 'b'\}: expected a regular expression .*; missing \)"),
        ({"rename": {"a": r"\1"}}, "invalid group reference"),
    ):
        with pytest.raises(UsageError, match=message):
            make(**names)
    with pytest.raises(TypeError, match="unexpected keyword argument 'renames'; of names there are restore, rename"):
        make(renames={})
    with pytest.raises(UsageError, match=f"restore names 'tail', which the .* does not have; it has {body}, {head}"):
        make(restore={"a": "tail"}).variables()
    held = {body: RIGHT, head: RIGHT}
    for names, keyword in (({"restore": {"odd": body}}, "restore"), ({"rename": {"odd": "b"}}, "rename")):
        refused = run(make(**names), tmp_path, held).failures["step-1.npz"]
        assert f"{keyword}={{'odd': " in refused
        assert f"renames what the checkpoint does not hold; it holds {body}, {head}" in refused
    twice = run(make(rename={"head": "body"}), tmp_path, held).failures["step-1.npz"]
    assert f"makes one name of two: '{body}' and '{head}' both become '{body}'" in twice


@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_names_are_given_with_or_without_the_wrappers(prefix: str, tmp_path: Path) -> None:
    held = {f"{prefix}old.weight": RIGHT, f"{prefix}head.weight": RIGHT, f"{prefix}aux.w": WRONG}
    events = run(torch_model(restore={"old.": "body."}, ignore=("aux.*",)), tmp_path, held)
    assert events.value("top1") == 1.0
    if prefix:
        full = torch_model(restore={f"{prefix}old.weight": "body.weight"}, ignore=(f"{prefix}aux.*",))
        assert run(full, tmp_path, held).value("top1") == 1.0


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own
def test_names_of_keras_files_are_given_as_inspect_shows_them(tmp_path: Path) -> None:
    dense = keras.layers.Dense
    trained = keras.Sequential([keras.layers.Input((3,)), *(dense(3, use_bias=False) for _ in range(3))])
    trained.set_weights([RIGHT, WRONG, RIGHT])
    (tmp_path / "runs").mkdir()
    trained.save_weights(tmp_path / "runs" / "step-1.weights.h5")

    def tried(**names: Any) -> Any:
        evaluation = Evaluation(
            model=keras_model(**names),
            data={"test": Arrays(INPUTS, LABELS)},
            task=Classification(outputs="logits"),
            metrics=[TopK(1)],
            version="1",
        )
        return go(evaluation, tmp_path / "runs", store=tmp_path / "store")

    assert "1 tensors are unexpected: layers/dense_2/vars/0" in tried().failures["step-1.weights.h5"]
    assert tried(ignore=("layers/dense_2/*",)).value("top1") == 0.0  # body, then the wrong head
    last = {"layers/dense_2/vars/0": "head/kernel"}
    assert tried(restore=last, ignore=("layers/dense_1/*",)).value("top1") == 1.0


def test_a_module_that_was_handed_in_has_no_values_to_keep(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"keep=\(...\): TorchModel was handed a module"):
        run(TorchModel(Net(), keep=("head.*",)), tmp_path, {"body.weight": RIGHT})
