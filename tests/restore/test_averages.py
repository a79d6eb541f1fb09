"""Raw and averaged weights as trainers save them: each under its own name, or a question; judged by the values saved.

The layouts are those of docs/design/averages.md, written here as their writers do.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests._material import go

from milepost.checkpoints.discovery import find
from milepost.checkpoints.reader import Reader
from milepost.core.types import Table
from milepost.data.arrays import Arrays
from milepost.errors import Mismatch, UsageError
from milepost.evaluation.definition import Evaluation
from milepost.metrics.top_k import TopK
from milepost.models.torch import TorchModel
from milepost.restore.matching import Restored, restore
from milepost.tasks.classification import Classification

Tensors = dict[str, torch.Tensor]


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.head = torch.nn.Linear(3, 2, bias=False)


def weights(value: float) -> Tensors:
    return {name: torch.full_like(item, value) for name, item in Net().state_dict().items()}


RAW, EMA = weights(1), weights(2)
TRAINED = [name for name, _ in Net().named_parameters()]
MIXED = {name: EMA[name] if name in TRAINED else item for name, item in RAW.items()}
"""Averages of the parameters, and the raw statistics."""


def table_of(folder: Path, saved: Mapping[str, Any]) -> Table:
    path = folder / "saved.pt"
    torch.save(saved, path)
    (found,) = find([str(path)])
    return Reader().table(found, str(folder))


def loaded(folder: Path, saved: Mapping[str, Any], variant: str, place: str | None = None) -> Restored:
    return restore(table_of(folder, saved), TorchModel(Net).variables(), variant, place=place)


def holds(found: Restored, expected: Mapping[str, torch.Tensor]) -> bool:
    counted = {name: item for name, item in expected.items() if not name.endswith("num_batches_tracked")}
    assert counted.keys() <= found.arrays.keys()
    return all(np.array_equal(found.arrays[name], item.numpy()) for name, item in counted.items())


def prefixed(tensors: Mapping[str, torch.Tensor], prefix: str) -> Tensors:
    return {prefix + name: item for name, item in tensors.items()}


def flat(tensors: Mapping[str, torch.Tensor], mark: str = "ema_", joint: str = "_") -> Tensors:
    return {mark + name.replace(".", joint): tensors[name] for name in TRAINED}


def averaged(value: float = 2) -> Tensors:
    net = Net()
    net.load_state_dict(weights(value))
    return dict(torch.optim.swa_utils.AveragedModel(net).state_dict())


def trained(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: tensors[name] for name in TRAINED}


STEPS = {"steps": torch.tensor(5)}
SURE: dict[str, tuple[Callable[[], dict[str, Any]], Tensors]] = {
    "timm": (lambda: {"state_dict": RAW, "state_dict_ema": EMA}, EMA),
    "convnext": (lambda: {"model": RAW, "model_ema": EMA}, EMA),
    "torchvision": (lambda: {"model": RAW, "model_ema": averaged()}, EMA),
    "swa": (lambda: {"model_state_dict": RAW, "swa_state_dict": averaged()}, EMA),
    "an averaged model under any name": (lambda: {"model": RAW, "best": averaged()}, EMA),
    "mmengine": (lambda: {"state_dict": EMA, "ema_state_dict": {**STEPS, **prefixed(RAW, "module.")}}, EMA),
    "lightning": (lambda: {"state_dict": EMA, "current_model_state": RAW, "averaging_state": {}}, EMA),
    "lightning attributes": (
        lambda: {"state_dict": {**prefixed(RAW, "model."), **prefixed(EMA, "ema_model.")}},
        EMA,
    ),
    "an averaged attribute": (
        lambda: {"state_dict": {**prefixed(RAW, "net."), **prefixed(averaged(), "ema_model.")}},
        EMA,
    ),
    "shadow": (lambda: {"model": RAW, "ema": {"decay": 0.9, "shadow": trained(EMA)}}, MIXED),
    "shadow, the raw names wrapped": (
        lambda: {"model": prefixed(RAW, "module."), "ema": {"shadow": trained(EMA)}},
        MIXED,
    ),
    "torch_ema": (
        lambda: {"model": RAW, "ema": {"num_updates": 7, "shadow_params": list(trained(EMA).values())}},
        MIXED,
    ),
    "ema_pytorch": (
        lambda: {
            "model": RAW,
            "ema": {
                "initted": torch.tensor(True),
                "step": torch.tensor([9]),
                **prefixed(RAW, "online_model."),
                **prefixed(EMA, "ema_model."),
            },
        },
        EMA,
    ),
    "ema_pytorch alone": (
        lambda: {"ema": {"step": torch.tensor([9]), **prefixed(RAW, "online_model."), **prefixed(EMA, "ema_model.")}},
        EMA,
    ),
    "ema_pytorch at top level": (
        lambda: {"initted": torch.tensor(True), **prefixed(RAW, "online_model."), **prefixed(EMA, "ema_model.")},
        EMA,
    ),
    "latent diffusion": (
        lambda: {
            "state_dict": {
                **prefixed(RAW, "model."),
                "model_ema.decay": torch.tensor(0.9),
                "model_ema.num_updates": torch.tensor(3),
                **flat(EMA, "model_ema.", ""),
            }
        },
        MIXED,
    ),
    "openfold": (lambda: {"state_dict": RAW, "ema": {"params": EMA, "decay": 0.9}}, EMA),
}
UNSURE: dict[str, tuple[Callable[[Tensors, Tensors], dict[str, Any]], tuple[str, str]]] = {
    "no count": (lambda plain, other: {"state_dict": plain, "ema_state_dict": other}, ("state_dict", "ema_state_dict")),
    "not MMEngine's order": (
        lambda plain, other: {"state_dict": plain, "ema_state_dict": {**prefixed(other, "module."), **STEPS}},
        ("state_dict", "ema_state_dict"),
    ),
    "mmcv": (
        lambda plain, other: {"state_dict": {**plain, **flat(other)}},
        ("state_dict", "state_dict/ema_*"),
    ),
    "mmcv at top level": (lambda plain, other: {**plain, **flat(other)}, ("", "ema_*")),
    "mmcv, wrapped": (
        lambda plain, other: prefixed({**plain, **flat(other)}, "module."),
        ("", "module.ema_*"),
    ),
}


@pytest.mark.parametrize("case", SURE)
def test_each_set_has_its_own_name(case: str, tmp_path: Path) -> None:
    write, ema = SURE[case]
    raw, averages = loaded(tmp_path, write(), "raw"), loaded(tmp_path, write(), "ema")
    assert holds(raw, RAW)
    assert holds(averages, ema)
    assert raw.digest != averages.digest
    if ema is MIXED:
        assert "raw ones stand in for the others: norm.num_batches_tracked, norm.running_mean" in str(
            averages.notes["averaging"]
        )


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("case", UNSURE)
def test_what_a_file_does_not_say_is_asked_and_can_be_declared(case: str, tmp_path: Path, *, swapped: bool) -> None:
    write, (plain, other) = UNSURE[case]
    saved = write(EMA, RAW) if swapped else write(RAW, EMA)
    for variant in ("raw", "ema"):
        with pytest.raises(Mismatch) as asked:
            loaded(tmp_path, saved, variant)
        assert f'Evaluation(variants={{"raw": "{plain}", "ema": "{other}"}})' in str(asked.value)
    first = weights(2 if swapped else 1)
    assert holds(loaded(tmp_path, saved, "raw", plain), first)
    found = loaded(tmp_path, saved, "ema", other)
    assert holds(found, trained(weights(1 if swapped else 2)))
    assert str(found.notes["averaging"]).startswith("placed by the evaluation file: variant ema at ")


@pytest.mark.parametrize("word", ["ema_params", "params_ema"])
def test_a_function_finds_both_trees_of_a_flax_state_under_one_name(word: str, tmp_path: Path) -> None:
    """`flax.traverse_util.flatten_dict(state, sep="/")`; `optax.ema` in `opt_state` averages updates, not weights."""
    saved = {f"params/{name}": item for name, item in RAW.items()}
    saved |= {f"{word}/{name}": item for name, item in EMA.items()}
    saved |= {f"opt_state/0/ema/{name}": weights(3)[name] for name in TRAINED}
    table = table_of(tmp_path, saved)
    for variant, expected in (("raw", RAW), ("ema", EMA)):
        found = restore(table, None, variant)
        assert found.arrays.keys() == {f"params/{name}" for name in expected}
        assert holds(found, prefixed(expected, "params/"))


def test_an_averaged_model_alone_is_not_raw(tmp_path: Path) -> None:
    assert holds(loaded(tmp_path, averaged(), "ema"), EMA)
    with pytest.raises(Mismatch, match="no weights of variant 'raw'; it holds 'ema' at 'top level': leave 'raw' out"):
        loaded(tmp_path, averaged(), "raw")


def test_a_place_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match=r"no weights stand at 'ema', where .* holds weights at 'a', 'b' \(''"):
        loaded(tmp_path, {"a": RAW, "b": EMA}, "ema", "ema")
    with pytest.raises(Mismatch, match=r"two sets .* as in Evaluation\(variants=\{\"raw\": \"a\"\}\)"):
        loaded(tmp_path, {"a": RAW, "b": EMA}, "raw")
    assert holds(loaded(tmp_path, {"a": RAW, "b": EMA}, "ema", "b"), EMA)


def test_a_declared_place_may_be_what_no_rule_takes_for_weights(tmp_path: Path) -> None:
    held = prefixed(EMA, "model.")
    saved = {"state_dict": prefixed(RAW, "model."), "callbacks": {"MyEMA": {"weights": held}}}
    assert holds(loaded(tmp_path, saved, "raw"), RAW)
    with pytest.raises(Mismatch, match="no weights of variant 'ema'"):
        loaded(tmp_path, saved, "ema")
    assert holds(loaded(tmp_path, saved, "ema", "callbacks/MyEMA/weights"), EMA)


@pytest.mark.parametrize(
    "listed",
    [
        lambda: list(trained(EMA).values())[:-1],  # a frozen layer that no average was kept of
        lambda: list(trained(EMA).values())[::-1],  # another order
        lambda: list(EMA.values()),  # the statistics, too
    ],
)
def test_a_list_of_averages_that_is_not_of_the_parameters_is_refused(
    listed: Callable[[], list[torch.Tensor]], tmp_path: Path
) -> None:
    saved = {"model": RAW, "ema": {"shadow_params": listed()}}
    assert holds(loaded(tmp_path, saved, "raw"), RAW)
    with pytest.raises(Mismatch, match=r"averages at 'ema/shadow_params' are a list of \d+ tensors without names"):
        loaded(tmp_path, saved, "ema")


@pytest.mark.parametrize("inside", [False, True])
def test_averages_that_are_lent_to_the_model_are_not_raw(tmp_path: Path, *, inside: bool) -> None:
    """torch_ema's state within `average_parameters()`, and after it: the raw parameters are on its list both times."""
    lists = {"shadow_params": list(trained(EMA).values()), "collected_params": list(trained(RAW).values())}
    saved = {"model": MIXED if inside else RAW, "ema": lists}
    assert holds(loaded(tmp_path, saved, "ema"), MIXED)
    if inside:
        with pytest.raises(Mismatch, match="the weights at 'model' may be averages: they are the same; torch_ema's"):
            loaded(tmp_path, saved, "raw")
    else:
        assert holds(loaded(tmp_path, saved, "raw"), RAW)


def test_a_shared_parameter_is_in_a_list_once(tmp_path: Path) -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Linear(3, 3)
            self.b = torch.nn.Linear(3, 3)
            self.b.weight = self.a.weight

    net = Tied()
    saved = {"model": net.state_dict(), "ema": {"shadow_params": [item.detach() + 1 for item in net.parameters()]}}
    found = restore(table_of(tmp_path, saved), TorchModel(Tied).variables(), "ema")
    assert {name: item.tolist() for name, item in found.arrays.items()} == {
        name: (item.detach() + 1).tolist() for name, item in net.named_parameters()
    }


def test_a_model_with_buffers_of_such_names_gets_them_as_its_own(tmp_path: Path) -> None:
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(3, 3)
            self.register_buffer("ema_fc_weight", torch.zeros(3, 3))
            self.ema = torch.nn.Linear(3, 3)

    state = {name: torch.full_like(item, 4) for name, item in Own().state_dict().items()}
    for prefix in ("", "module."):
        found = restore(table_of(tmp_path, prefixed(state, prefix)), TorchModel(Own).variables(), "raw")
        assert holds(found, state)


def test_the_other_sets_of_a_file_are_named(tmp_path: Path) -> None:
    saved = {"state_dict": RAW, "state_dict_ema": EMA}
    assert loaded(tmp_path, saved, "raw").notes["also holds"] == "ema at 'state_dict_ema'"
    assert "also holds" not in loaded(tmp_path, {"state_dict": RAW}, "raw").notes


def evaluation(variants: Any) -> Evaluation:
    inputs, labels = np.eye(3, dtype=np.float32), np.array([0, 1, 1])
    return Evaluation(
        model=TorchModel(lambda: torch.nn.Linear(3, 2, bias=False)),
        data={"test": Arrays(inputs, labels)},
        task=Classification(outputs="logits"),
        metrics=[TopK(1)],
        variants=variants,
        version="1",
    )


def test_another_declaration_is_restored_again_and_known_weights_are_not_evaluated_again(tmp_path: Path) -> None:
    right, wrong = torch.tensor([[1.0, 0, 0], [0, 1, 1]]), torch.tensor([[0.0, 1, 1], [1, 0, 0]])
    (tmp_path / "runs").mkdir()
    torch.save({"state_dict": {"weight": right}, "ema_state_dict": {"weight": wrong}}, tmp_path / "runs" / "step-1.pt")
    asked = go(evaluation(("raw", "ema")), tmp_path / "runs", store=tmp_path / "store")
    assert [item["class"] for item in asked.of("failure")] == ["mismatch", "mismatch"]
    places = ("state_dict", "ema_state_dict")
    for (raw, ema), values in ((places, (1.0, 0.0)), (places[::-1], (0.0, 1.0))):
        declared = evaluation({"raw": raw, "ema": ema})
        own = go(declared, tmp_path / "runs", store=tmp_path / raw)
        assert tuple(own.value("top1", variant=name) for name in ("raw", "ema")) == values
        shared = go(declared, tmp_path / "runs", store=tmp_path / "store")
        assert shared.done == ((1, 0, 0) if raw == "state_dict" else (0, 1, 0))


def test_a_declaration_that_is_no_place_is_refused() -> None:
    for odd in ({"raw": 1}, {1: "raw"}, {}, "raw"):
        with pytest.raises(UsageError, match=r"Evaluation\(variants="):
            evaluation(odd)


def lightning(averages: list[torch.Tensor]) -> dict[str, Any]:
    """As NeMo's first EMA callback: a list of averages of all that `state_dict` holds, among the callbacks' states."""
    states = {"EMA": {"ema_weights": averages, "cur_step": 5}, "ModelCheckpoint": {"best_model_path": "a"}}
    return {"epoch": 1, "global_step": 5, "state_dict": RAW, "callbacks": states}


def test_a_list_of_averages_in_a_callbacks_state_is_by_the_names_of_the_state_dict(tmp_path: Path) -> None:
    saved = lightning([EMA[name] for name in RAW])
    assert holds(loaded(tmp_path, saved, "raw"), RAW)
    assert holds(loaded(tmp_path, saved, "ema"), EMA)
    for other in (
        saved["callbacks"]["EMA"]["ema_weights"][1:],
        [torch.zeros(7), *(EMA[name] for name in list(RAW)[1:])],
    ):
        with pytest.raises(Mismatch, match="tensors without names, and not those of the 8 tensors at"):
            loaded(tmp_path, lightning(other), "ema")
        assert holds(loaded(tmp_path, lightning(other), "raw"), RAW)


@pytest.mark.parametrize(("name", "noted"), [("epoch=3-step=400-EMA.ckpt", True), ("epoch=3-step=400.ckpt", False)])
def test_a_file_that_is_named_after_averages_says_so(name: str, noted: bool, tmp_path: Path) -> None:
    torch.save({"state_dict": EMA}, tmp_path / name)
    (found,) = find([str(tmp_path / name)])
    table = Reader().table(found, str(tmp_path))
    assert any("averages are in the weights' place" in note for note in table.notes) == noted
