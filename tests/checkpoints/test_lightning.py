"""Lightning's .ckpt: torch zips with hyper-parameters of any class, prefixed names, averaged weights."""

import argparse
import itertools
import pathlib
import pickle
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tests._material import command, go

from milepost.checkpoints.discovery import find
from milepost.checkpoints.reader import Reader
from milepost.core.types import Array, Table, Variable
from milepost.data.arrays import Arrays
from milepost.errors import Mismatch
from milepost.evaluation.definition import Evaluation
from milepost.metrics.top_k import TopK
from milepost.models.torch import TorchModel
from milepost.restore.matching import Restored, restore
from milepost.tasks.classification import Classification

_PARSING = "pytorch_lightning.utilities.parsing"


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 4))


def tensors_of(seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {name: tensor.clone() for name, tensor in network().state_dict().items()}


def prefixed(tensors: Mapping[str, torch.Tensor], prefix: str = "model.") -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def checkpoint(weights: Mapping[str, torch.Tensor], step: int = 750, **more: Any) -> dict[str, Any]:
    """Return what Lightning 2 saves after an epoch of a module with one Adam."""
    parameters = [torch.nn.Parameter(tensor.clone()) for tensor in weights.values() if tensor.is_floating_point()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    kept = f"ModelCheckpoint{ {'monitor': 'val_loss', 'mode': 'min', 'every_n_train_steps': 0}!r}"
    return {
        "epoch": 3,
        "global_step": step,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": dict(weights),
        "loops": {
            "fit_loop": {
                "state_dict": {},
                "epoch_progress": {"total": {"ready": 4, "completed": 3}, "current": {"ready": 4, "completed": 3}},
            },
        },
        "callbacks": {
            kept: {
                "monitor": "val_loss",
                "best_model_score": torch.tensor(0.25),
                "best_k_models": {"epoch=3-step=750.ckpt": torch.tensor(0.25)},
                "kth_value": torch.tensor(0.25),
                "dirpath": "checkpoints",
            },
        },
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [scheduler.state_dict()],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 1e-3, "class_weights": torch.ones(4)},
        **more,
    }


def table_of(path: Path) -> Table:
    (found,) = (found for found in find([str(path)]) if found.format)
    spool = path.parent / "spool"
    spool.mkdir(exist_ok=True)
    return Reader().table(found, str(spool))


def variables_of() -> tuple[Variable, ...]:
    return TorchModel(network).variables()


def restored(path: Path, variant: str = "raw", place: str | None = None) -> Restored:
    return restore(table_of(path), variables_of(), variant, place=place)


def equal(found: Restored, expected: Mapping[str, torch.Tensor]) -> None:
    assert found.arrays.keys() == expected.keys()
    for name, tensor in expected.items():
        assert np.array_equal(found.arrays[name], tensor.numpy()), name


@pytest.fixture
def attribute_dict() -> Iterator[type]:
    """Give the class that Lightning keeps hyper-parameters in, importable only while the file is written."""
    module = ModuleType(_PARSING)
    made = type("AttributeDict", (dict,), {"__module__": _PARSING})
    module.AttributeDict = made  # type: ignore[attr-defined]
    names = [".".join(_PARSING.split(".")[:count]) for count in range(1, 4)]
    sys.modules.update(dict.fromkeys(names, module))
    yield made
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("prefix", ["model.", "net.", "network.", ""])
def test_step_place_and_prefix(prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "epoch=3-step=99.ckpt"
    torch.save(checkpoint(prefixed(tensors_of(), prefix)), file)
    table = table_of(file)
    assert (table.step, table.step_source) == (750, "content: global_step")
    roles = {tensor.group.split("/")[0]: tensor.role for tensor in table.tensors}
    assert roles == {
        "state_dict": "weights",
        "callbacks": "bookkeeping",
        "optimizer_states": "optimizer",
        "hyper_parameters": "bookkeeping",
    }
    found = restored(file)
    equal(found, tensors_of())
    assert found.notes["place"] == "state_dict"
    assert found.notes.get("names") == (f"{prefix} taken off the checkpoint's names" if prefix else None)


def test_foreign_hyper_parameters_are_listed_and_never_imported(attribute_dict: type, tmp_path: Path) -> None:
    odd = attribute_dict(
        args=argparse.Namespace(lr=np.float64(0.1), classes=np.int64(4)), folder=pathlib.PosixPath("/data")
    )
    file = tmp_path / "last.ckpt"
    torch.save(checkpoint(prefixed(tensors_of()), hyper_parameters=odd), file)
    for name in [name for name in sys.modules if name.startswith("pytorch_lightning")]:
        del sys.modules[name]
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        torch.load(file, weights_only=True)
    table = table_of(file)
    assert {f"{_PARSING}.AttributeDict", "argparse.Namespace"} <= set(table.foreign)
    assert any("PosixPath" in name for name in table.foreign)
    assert not any(name.startswith("pytorch_lightning") for name in sys.modules)
    equal(restored(file), tensors_of())


WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "_forward_module.")


@pytest.mark.parametrize("order", list(itertools.permutations(WRAPPERS, 3)))
def test_nested_prefixes_in_any_order(order: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    torch.save({"state_dict": prefixed(tensors_of(), "".join(order))}, file)
    found = restored(file)
    equal(found, tensors_of())
    message = str(found.notes["names"])
    assert all(prefix in message for prefix in order)


def test_marks_within_names(tmp_path: Path) -> None:
    names = {name: name.replace(".", "._checkpoint_wrapped_module.", 1) for name in tensors_of()}
    inner = {f"_fsdp_wrapped_module.model._orig_mod.{names[name]}": item for name, item in tensors_of().items()}
    file = tmp_path / "fsdp.ckpt"
    torch.save(checkpoint(inner), file)
    equal(restored(file), tensors_of())


def test_the_real_wrappers_of_torch(tmp_path: Path) -> None:
    net = network()
    net.load_state_dict(tensors_of())
    outer: Any = torch.nn.Module()
    outer.model = torch.compile(net, backend="eager")
    averaged = torch.optim.swa_utils.AveragedModel(net)
    assert next(iter(outer.state_dict())).startswith("model._orig_mod.")
    for number, saved in enumerate(
        (
            checkpoint(outer.state_dict()),
            {"model": torch.nn.DataParallel(net).state_dict()},
            {"model": {"fc": torch.ones(3)}, "model_ema": averaged.state_dict()},
        )
    ):
        file = tmp_path / f"{number}.ckpt"
        torch.save(saved, file)
        equal(restored(file, "ema" if "model_ema" in saved else "raw"), tensors_of())


# ---------------------------------------------------------------------------------------- names beside the prefix


@pytest.mark.parametrize("prefix", ["model.", "model._orig_mod.", "backbone."])
def test_buffers_of_the_criterion_beside_the_network(prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    torch.save(checkpoint({**prefixed(tensors_of(), prefix), "loss_fn.weight": torch.ones(4)}), file)
    with pytest.raises(Mismatch) as caught:
        restored(file)
    message = str(caught.value)
    head = prefix.split(".", maxsplit=1)[0]
    for piece in (
        f"under 'state_dict' do not fit the model: all of its variables are there once '{head}.' is taken off, but",
        "1 tensors are unexpected: loss_fn.weight",
        "wrap the model in the evaluation file",
        f"attributes that training had ({head}, loss_fn)",
    ):
        assert piece in message
    assert "missing" not in message


def test_a_prefix_that_is_no_wrappers_stays_on(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    torch.save(checkpoint(prefixed(tensors_of(), "encoder.")), file)
    with pytest.raises(Mismatch, match=r"once 'encoder\.' is taken off, but that is no prefix that wrappers"):
        restored(file)


def test_two_networks_under_two_prefixes_are_both_named(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    both = {**prefixed(tensors_of(1), "student."), **prefixed(tensors_of(2), "teacher.")}
    torch.save(checkpoint(both), file)
    with pytest.raises(Mismatch, match=r"are there under 'student\.' and 'teacher\.' each"):
        restored(file)


def test_a_misshapen_tensor_is_named_though_all_names_are_prefixed(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    torch.save(checkpoint(prefixed({**tensors_of(), "2.weight": torch.ones(6, 4)})), file)
    with pytest.raises(Mismatch) as caught:
        restored(file)
    assert str(caught.value) == (
        "the weights under 'state_dict' (model. taken off the checkpoint's names) do not fit the model: "
        "2.weight has shape [6, 4], the model wants [4, 6] (transposed?)"
    )


class Wrapped(torch.nn.Module):
    """What the message tells the user to write."""

    def __init__(self) -> None:
        super().__init__()
        self.model = network()
        self.loss_fn = torch.nn.CrossEntropyLoss(weight=torch.ones(4))

    def forward(self, x: torch.Tensor) -> Any:
        return self.model(x)


def test_the_advice_works(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    weights = {**prefixed(tensors_of()), "loss_fn.weight": torch.tensor([1.0, 2.0, 3.0, 4.0])}
    torch.save(checkpoint(weights), runs / "last.ckpt")
    torch.save(checkpoint(prefixed(tensors_of(2)), step=900), runs / "bare.ckpt")
    inputs, labels = examples()
    reported = go(evaluation_of(Wrapped, inputs, labels), runs, store=tmp_path / "evals")
    assert reported.done == (1, 0, 1)
    assert reported.value("top1", step=750) == accuracy(tensors_of(), inputs, labels)
    assert "1 of 9 variables are missing: loss_fn.weight" in reported.failures["bare.ckpt"]


# ------------------------------------------------------------------------------------------------- averaged weights


def test_an_averaged_set_beside_the_raw_one(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    torch.save(checkpoint(prefixed(tensors_of(1)), ema_state_dict=prefixed(tensors_of(2))), file)
    with pytest.raises(Mismatch, match="does not say which is averaged"):  # a callback of the user's may swap them
        restored(file)
    equal(restored(file, "raw", "state_dict"), tensors_of(1))
    equal(restored(file, "ema", "ema_state_dict"), tensors_of(2))


def test_weight_averaging_keeps_the_averaged_weights_where_the_raw_ones_were(tmp_path: Path) -> None:
    """As its callback saves: `state_dict` becomes the average, the raw weights move, `n_averaged` stands apart."""
    file = tmp_path / "last.ckpt"
    counted = {"n_averaged": torch.tensor(7)}
    raw = prefixed(tensors_of(1))
    torch.save(checkpoint(prefixed(tensors_of(2)), current_model_state=raw, averaging_state=counted), file)
    equal(restored(file), tensors_of(1))
    equal(restored(file, "ema"), tensors_of(2))
    assert restored(file).notes["place"] == "current_model_state"
    message = "state_dict holds averaged weights (variant ema), current_model_state the raw ones"
    assert restored(file, "ema").notes["averaging"] == message


# --------------------------------------------------------------------------------------------------- the whole way


def examples() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 8)).astype(np.float32), rng.integers(0, 4, 200)


def accuracy(tensors: Mapping[str, torch.Tensor], inputs: Array, labels: Array) -> float:
    net = network().eval()
    net.load_state_dict(dict(tensors))
    with torch.no_grad():
        return float((net(torch.from_numpy(inputs)).argmax(1).numpy() == labels).mean())


def evaluation_of(build: Any, inputs: Array, labels: Array, **more: Any) -> Evaluation:
    return Evaluation(
        model=TorchModel(build),
        data={"test": Arrays(inputs, labels)},
        task=Classification(outputs="logits"),
        metrics=[TopK(1)],
        batch_size=64,
        version="1",
        **more,
    )


def test_from_the_file_to_show(attribute_dict: type, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    odd = attribute_dict(args=argparse.Namespace(lr=0.1))
    saved = checkpoint(prefixed(tensors_of(1)), hyper_parameters=odd, ema_state_dict=prefixed(tensors_of(2)))
    torch.save(saved, runs / "epoch=3-step=99.ckpt")
    inputs, labels = examples()
    variants = {"raw": "state_dict", "ema": "ema_state_dict"}
    evaluation = evaluation_of(network, inputs, labels, variants=variants)
    reported = go(evaluation, runs, store=tmp_path / "evals")
    assert reported.value("top1", variant="raw", step=750) == accuracy(tensors_of(1), inputs, labels)
    assert reported.value("top1", variant="ema", step=750) == accuracy(tensors_of(2), inputs, labels)
    digest = next(
        item["checkpoint"]["digest"] for item in reported.of("record") if item["checkpoint"]["variant"] == "ema"
    )
    shown = command("show", digest[:12], "--store", tmp_path / "evals").stdout
    for piece in (
        "model. taken off the checkpoint's names",
        "ema_state_dict",
        f"{_PARSING}.AttributeDict",
        "content: global_step",
    ):
        assert piece in shown
