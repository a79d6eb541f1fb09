"""Roles and steps by TensorFlow's names, as tables, and the object graph's names."""

import pytest
from tests.checkpoints import _tf_writer as writer

from milepost._internal.budget import spending
from milepost.checkpoints.formats._tensorflow.names import Traits, is_candidate, roles_of, step_of
from milepost.checkpoints.formats._tensorflow.object_graph import VALUE, TrackedName, names_by_key
from milepost.errors import Corrupt

MATRIX, VECTOR, NUMBER, COUNT = Traits((3, 2), False), Traits((2,), False), Traits((), False), Traits((), True)
VARIABLES = {"conv/w": MATRIX, "conv/b": VECTOR, "dense/kernel": MATRIX, "scope/step": MATRIX}


@pytest.mark.parametrize(
    ("name", "item", "role"),
    [
        ("conv/w", MATRIX, "weights"),
        ("conv/w/Momentum", MATRIX, "optimizer"),
        ("conv/w/Adam", MATRIX, "optimizer"),
        ("conv/w/Adam_1", MATRIX, "optimizer"),
        ("conv/w/RMSProp_1", MATRIX, "optimizer"),
        ("conv/w/MyOwnOptimizer", MATRIX, "optimizer"),
        ("conv/w/Adam", VECTOR, "optimizer"),
        ("conv/w/adam_m", MATRIX, "optimizer"),
        ("train/conv/w/Adam", MATRIX, "optimizer"),
        ("training/Adam/dense/kernel/m", MATRIX, "optimizer"),
        ("training/Adam/iter", COUNT, "weights"),  # no slot beside it tells that this is an optimizer's scope
        ("Momentum", MATRIX, "weights"),
        ("other/Adam", MATRIX, "weights"),
        ("conv/w/u", VECTOR, "weights"),
        ("conv/w/ExponentialMovingAverage", MATRIX, "weights"),
        ("conv/w/ema", MATRIX, "weights"),
        ("conv/w/ExponentialMovingAverage/biased", MATRIX, "weights"),
        ("bn/moving_mean", VECTOR, "weights"),
        ("beta1_power", NUMBER, "optimizer"),
        ("train/beta2_power_1", NUMBER, "optimizer"),
        ("global_step", COUNT, "bookkeeping"),
        ("train/global_step", COUNT, "bookkeeping"),
        ("scope/step", COUNT, "bookkeeping"),
        ("learning_rate", NUMBER, "bookkeeping"),
        ("total_loss/avg", NUMBER, "bookkeeping"),
        ("temperature", NUMBER, "weights"),
        ("save_counter", COUNT, "bookkeeping"),
        ("optimizer/beta_1", NUMBER, "optimizer"),
        ("model/kernel/.OPTIMIZER_SLOT/optimizer/m", MATRIX, "optimizer"),
        ("net/keras_api/metrics/0/total", NUMBER, "bookkeeping"),
        ("variables/2", Traits((2,), True, full_name="dropout/seed_generator_state"), "bookkeeping"),
        ("opt/anything", Traits((2,), False, optimizer=True), "optimizer"),
    ],
)
def test_roles(name: str, item: Traits, role: str) -> None:
    assert roles_of({**VARIABLES, name: item})[name] == role


def test_settings_beside_slots_are_the_optimizers() -> None:
    scope = "training/Adam"
    rows = {**VARIABLES, f"{scope}/dense/kernel/m": MATRIX, f"{scope}/iter": COUNT, f"{scope}/decay": NUMBER}
    assert {role for name, role in roles_of(rows).items() if name.startswith(scope)} == {"optimizer"}


OPT = "optimizer"


@pytest.mark.parametrize(
    ("numbers", "step", "source", "doubts"),
    [
        ({"global_step": 9, "step": 8, "optimizer/iter": 7, "save_counter": 3}, 9, "content: global_step", 0),
        ({"step": 8, "optimizer/iter": 7, "save_counter": 3}, 8, "content: step", 0),
        ({"net/step": 8, "optimizer/iter": 7, "save_counter": 3}, 8, "content: net/step", 0),
        ({"train/global_step": 9, "step": 8}, 9, "content: train/global_step", 0),
        ({"a/step": 8, "b/step": 9, "optimizer/iter": 7}, 7, "content: optimizer iterations", 1),
        ({"a/step": 8, "b/step": 8}, 8, "content: a/step", 0),
        ({"optimizer/_iterations": 7, "save_counter": 3}, 7, "content: optimizer iterations", 0),
        (
            {"optimizer/iter": 7, "optimizer/inner/iter": 8, "save_counter": 3},
            3,
            "content: save_counter (the number",
            1,
        ),
        ({"save_counter": 3}, 3, "content: save_counter (the number of saves, not a step)", 0),
        ({"iterations": 5, "save_counter": 3}, 5, "content: iterations", 0),
        ({"global_step": -1}, None, None, 0),
        ({}, None, None, 0),
    ],
)
def test_steps(numbers: dict[str, int], step: int | None, source: str | None, doubts: int) -> None:
    roles = {name: OPT for name in numbers if name.startswith(OPT)}
    found, message, notes = step_of(numbers, roles)  # type: ignore[arg-type]  # one of the roles
    assert (found, len(notes)) == (step, doubts)
    assert message == source or (source is not None and message is not None and message.startswith(source))


def test_only_single_integers_may_be_the_step() -> None:
    assert is_candidate("a/global_step", COUNT)
    assert is_candidate("step", Traits((1,), True))
    assert not is_candidate("step", NUMBER)
    assert not is_candidate("step", Traits((2,), True))
    assert not is_candidate("stepsize", COUNT)


def value(name: str) -> tuple[str, str]:
    return name.rpartition("/")[2], name + VALUE


KERNEL = "opt/_trainable_variables/0"
GRAPH = writer.graph(
    [
        ([(1, "model"), (2, "opt"), (3, "step")], []),
        ([(2, "optimizer"), (4, "a.b/c")], []),
        ([(5, "_trainable_variables"), (6, "_iterations"), (7, "_variables")], []),
        ([], [value("step")]),
        ([(8, "_kernel"), (1, "parent")], []),
        ([(8, "0")], []),
        ([], [value("opt/_iterations")]),
        ([(6, "0"), (9, "1")], []),
        ([], [value(KERNEL)]),
        ([], [value("opt/_variables/1")]),
    ]
)


def test_a_weight_that_an_optimizer_tracks_too_is_named_by_its_way_through_the_model() -> None:
    reported = names_by_key(memoryview(GRAPH), lambda: "graph")
    assert reported == {
        "step" + VALUE: TrackedName("step", False, "step"),
        KERNEL + VALUE: TrackedName("model/a..b.Sc/_kernel", False, "0"),
        f"opt/_iterations{VALUE}": TrackedName("opt/_iterations", True, "_iterations"),
        f"opt/_variables/1{VALUE}": TrackedName("opt/_variables/1", True, "1"),
    }


def test_names_without_end_are_refused() -> None:
    kernel = [value(KERNEL)] * 40_000
    optimizer = [(4, "_iterations"), (4, "_variables"), (5, "_trainable_variables")]
    nodes = [([(1, "m"), (2, "opt")], []), ([(3, "n" * 4000)], []), (optimizer, []), ([], kernel), ([], [])]
    graph = memoryview(writer.graph([*nodes, ([(3, "0")], [])]))
    with spending("graph", len(graph)), pytest.raises(Corrupt, match=r"graph: needs more than \d+ times its size"):
        names_by_key(graph, lambda: "graph")
