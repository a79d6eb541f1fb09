"""The argument that a message names makes the checkpoint fit, and none is named where it would not."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.restore.test_averages import table_of

from milepost.errors import Mismatch
from milepost.models.torch import TorchModel
from milepost.restore.matching import Restored, restore

OFFERED = re.compile(r"in the evaluation file: (restore=.*)$")


def net(*, inner: bool = False) -> torch.nn.Module:
    made = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 3))
    return torch.nn.ModuleDict({"encoder": made}) if inner else made


def restored(folder: Path, state: dict[str, Any], build: Any, **names: Any) -> Restored:
    model = TorchModel(build, **names)
    return restore(table_of(folder, {"model": state}), model.variables(), "raw", None, model.overrides)


def under(prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": tensor for name, tensor in net().state_dict().items()}


@pytest.mark.parametrize(
    ("state", "inner", "argument"),
    [
        (under("tower."), False, 'restore={"tower.": ""}'),
        (under("a.b."), False, 'restore={"a.b.": ""}'),
        (under(""), True, 'restore={"": "encoder."}'),
        (under("bert."), True, 'restore={"bert.": "encoder."}'),
        ({**under("tower."), "loss.w": torch.ones(2)}, False, 'restore={"tower.": ""}, ignore=["loss.*"]'),
        ({**under("model._orig_mod."), "loss.w": torch.ones(2)}, False, None),
    ],
)
def test_an_argument_that_is_named_makes_it_fit(
    state: dict[str, Any], inner: bool, argument: str | None, tmp_path: Path
) -> None:
    def build() -> torch.nn.Module:
        return net(inner=inner)

    with pytest.raises(Mismatch) as caught:
        restored(tmp_path, state, build)
    (offered,) = OFFERED.findall(str(caught.value))
    assert argument in (None, offered)
    names = eval(f"dict({offered})")  # noqa: S307 - as the user would paste it
    arrays = restored(tmp_path, state, build, **names).arrays
    wanted = [tensor.numpy() for name, tensor in state.items() if name != "loss.w"]
    assert [array.tobytes() for array in arrays.values()] == [array.tobytes() for array in wanted]


def test_two_networks_are_not_chosen_between(tmp_path: Path) -> None:
    with pytest.raises(Mismatch) as caught:
        restored(tmp_path, {**under("student."), **under("teacher.")}, net)
    assert not OFFERED.search(str(caught.value))


def test_other_names_of_the_same_shapes_are_not_guessed(tmp_path: Path) -> None:
    state = {name.replace("0.", "fc1.").replace("1.", "fc2."): tensor for name, tensor in net().state_dict().items()}
    with pytest.raises(Mismatch, match=r"arguments: restore=\{\"fc\S+\": \"0\.weight\", \.\.\.\}, or rename="):
        restored(tmp_path, state, net)


def test_a_model_that_takes_no_such_argument_gets_no_such_advice(tmp_path: Path) -> None:
    variables = TorchModel(net).variables()
    with pytest.raises(Mismatch, match="wrap the model in the evaluation file") as caught:
        restore(table_of(tmp_path, {"model": under("tower.")}), variables, "raw")
    assert "restore=" not in str(caught.value)


def test_who_gave_names_gets_no_others(tmp_path: Path) -> None:
    with pytest.raises(Mismatch) as caught:
        restored(tmp_path, under("tower."), net, ignore=["tower.0.bias"])
    assert "restore=" not in str(caught.value)


def test_where_only_shapes_differ_the_variables_to_keep_are_named(tmp_path: Path) -> None:
    def build() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 5))

    with pytest.raises(Mismatch) as caught:
        restored(tmp_path, under("module."), build)
    assert '; only shapes differ: add keep=["1.bias", "1.weight"] to the model' in str(caught.value)
    assert "restore=" not in str(caught.value)
    kept = restored(tmp_path, under("module."), build, keep=["1.bias", "1.weight"])
    assert kept.arrays["0.weight"].shape == (6, 4)
    assert kept.notes["missing"] == {"variables": 2, "of": 4, "names": ["1.weight", "1.bias"]}


def test_a_model_of_other_shapes_altogether_is_not_to_be_kept(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match=r"only shapes differ: build the model as it was trained$"):
        restored(
            tmp_path, net().state_dict(), lambda: torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 2))
        )


def test_a_transposed_variable_is_not_to_be_kept(tmp_path: Path) -> None:
    state = {name: tensor.t().contiguous() for name, tensor in net().state_dict().items()}
    with pytest.raises(Mismatch, match=r"\(transposed\?\)") as caught:
        restored(tmp_path, state, net)
    assert "keep=" not in str(caught.value)
