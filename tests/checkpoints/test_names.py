"""Steps in names, as a table."""

import pytest

from milepost.checkpoints.names import step_of_name


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step-900", 900),
        ("step_900.pt", 900),
        ("step900", 900),
        ("step=900.ckpt", 900),
        ("step_000900.npz", 900),
        ("lenet-step-900.safetensors", 900),
        ("run2_step_900.pt", 900),
        ("model-900", 900),
        ("model-900.pt", 900),
        ("model_900.pth", 900),
        ("model.ckpt-900", 900),
        ("model.ckpt-900.index", 900),
        ("epoch=3-step=900", 900),
        ("epoch=3-step=900.ckpt", 900),
        ("epoch=3-step=900-v1.ckpt", 900),
        ("epoch=24-step=18750.ckpt", 18750),
        ("checkpoint-900", 900),
        ("checkpoint_900", 900),
        ("ckpt-900", 900),
        ("ckpt_900.pt", 900),
        ("iter_900", 900),
        ("iter_0000900.pth", 900),
        ("iteration-900.pt", 900),
        ("weights-900", 900),
        ("global_step900", 900),
        ("global_step_900.pt", 900),
        ("Step-900.PT", 900),
        ("step-0", 0),
        ("runs/step-900.pt", 900),
        ("checkpoint-500/model.safetensors", 500),
        ("global_step900/mp_rank_00_model_states.pt", 900),
        ("mnist_lenet5", None),
        ("mnist_lenet5.pt", None),
        ("resnet50", None),
        ("resnet-50.pth", None),
        ("lenet5_v2", None),
        ("epoch_12", None),
        ("epoch=12.ckpt", None),
        ("900.pt", None),
        ("last.ckpt", None),
        ("model_2.5.pt", None),
        ("model-2b.pt", None),
        ("timestep.pt", None),
        ("lockstep9.pt", None),
        ("model-2/weights.pt", None),
        ("step-99999999999999999999", None),
        ("", None),
    ],
)
def test_table(name: str, step: int | None) -> None:
    assert step_of_name(name) == step
