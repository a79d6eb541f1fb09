"""GraphModel keeps the published laws with every kind of variable, and gives TensorFlow's own numbers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.models._tf1_nets import block, dense, digits, named, parted, tabled

from milepost.core.types import Array
from milepost.errors import DataError, Mismatch, MissingExtra, OutOfMemory, UsageError
from milepost.models.tf1 import GraphModel
from milepost.testing.models import AdapterCase, check_adapter

import tensorflow.compat.v1 as tf  # isort: skip  # behind the adapter, which keeps it quiet

X = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
IMAGES = np.random.default_rng(2).normal(size=(6, 8, 8, 4)).astype(np.float32)
ROWS = {"x": (tf.float32, [None, 3])}
PICTURES = {"images": (tf.float32, [None, 8, 8, 4])}
NEEDS = ("milepost.models.tf1", "tensorflow", "tf")


def made(model: GraphModel, seed: int) -> dict[str, Array]:
    """What a training run of its own would have left in the variables that the outputs depend on."""
    rng = np.random.default_rng(seed)
    found = {}
    for item in model.variables():
        if not item.optional:
            assert item.shape is not None
            values = rng.normal(size=item.shape)
            found[item.name] = (np.abs(values) if item.name.endswith("variance") else values).astype(item.dtype)
    return found


def case(make: Callable[[], GraphModel], inputs: Any, **more: Any) -> AdapterCase:
    return AdapterCase(make, (made(make(), 0), made(make(), 1)), inputs, **more)


@pytest.mark.parametrize("resource", [True, False])
def test_both_kinds_of_variables_keep_the_laws(resource: bool) -> None:
    def net(x: Any) -> Any:
        with tf.variable_scope("net", use_resource=resource):
            return dense(x)

    kinds = {type(item).__name__ for item in GraphModel(net, ROWS)._built().graph.get_collection("variables")}
    assert kinds == {"ResourceVariable" if resource else "RefVariable"}
    check_adapter(case(lambda: GraphModel(net, ROWS), X, needs=NEEDS if resource else None))


def test_slim_batch_norm_in_a_residual_block_keeps_the_laws() -> None:
    check_adapter(case(lambda: GraphModel(block, PICTURES), IMAGES))


def test_partitioned_variables_keep_the_laws_under_their_own_name() -> None:
    model = GraphModel(parted, ROWS)
    assert [(item.name, item.shape) for item in model.variables()] == [("table", (3, 5))]
    assert len(model._built().slots[0].partitions) == 3
    check_adapter(case(lambda: GraphModel(parted, ROWS), X))


def test_named_inputs_and_outputs_keep_the_laws() -> None:
    inputs = {"x": (tf.float32, [None, 3]), "scale": (tf.int32, [None])}
    given = {"x": X, "scale": np.arange(6)}
    check_adapter(case(lambda: GraphModel(named, inputs, feeds={"shift": 2}), given))


def test_tables_and_local_variables_are_initialised_and_strings_come_in(tmp_path: Path) -> None:
    model = GraphModel(tabled, {"words": (tf.string, [None])})
    weights = model.load({"w": np.array([1, 2, 3], np.float32)})
    assert model.predict(weights, np.array(["b", "a", "?"])).tolist() == [12, 11, 13]
    assert [item.name for item in model.variables()] == ["w"]


def saved(
    function: Callable[..., Any], inputs: Any, folder: Path, given: Any, **feeds: Any
) -> tuple[Any, dict[str, Array]]:
    """Train nothing: initialise a graph of TensorFlow's own, save it with Saver; return its prediction and tensors."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(3)
        fed = tf.placeholder(*next(iter(inputs.values())))
        output = function(fed)
        session.run(tf.global_variables_initializer())
        path = tf.train.Saver().save(session, str(folder / "model.ckpt"), global_step=7)
        reader = tf.train.load_checkpoint(path)
        tensors = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
        return session.run(output, {fed: given}), tensors


@pytest.mark.filterwarnings("ignore:.layer.apply. is deprecated")  # by TensorFlow itself, of tf_slim's layers
@pytest.mark.parametrize(
    ("function", "inputs", "given"), [(block, PICTURES, IMAGES), (dense, ROWS, X), (parted, ROWS, X)]
)
def test_predictions_are_those_of_tensorflow_itself(function: Any, inputs: Any, given: Any, tmp_path: Path) -> None:
    expected, tensors = saved(function, inputs, tmp_path, given)
    model = GraphModel(function, inputs)
    needed = {item.name for item in model.variables()}
    found = model.predict(model.load({name: tensors[name] for name in needed}), given)
    assert found.tobytes() == expected.tobytes()


def test_sessions_serve_the_next_checkpoint_and_release_closes_those_at_rest() -> None:
    model = GraphModel(dense, ROWS)
    first, second = model.load(made(model, 0)), model.load(made(model, 1))
    alone = model.predict(second, X)
    session = first.session
    del first
    third = model.load(made(model, 2))
    assert third.session is session
    assert np.array_equal(model.predict(second, X), alone)
    del third
    model.release()
    with pytest.raises(RuntimeError, match="closed Session"):
        session.run(model._built().local)
    assert np.array_equal(model.predict(second, X), alone)


# ------------------------------------------------------------------------------------------ what a checkpoint must hold


def whole_project(images: Any) -> Any:
    """A function that builds the training graph as well, as many projects have it."""
    logits = digits(images)
    tf.get_variable("aux/weights", [4])
    step = tf.train.get_or_create_global_step()
    loss = tf.reduce_mean(logits)
    train = tf.train.AdamOptimizer().minimize(loss, step)
    with tf.control_dependencies([train]):
        tf.train.ExponentialMovingAverage(0.9, step).apply(tf.trainable_variables())
    return logits


def test_what_no_prediction_depends_on_is_optional() -> None:
    model = GraphModel(whole_project, {"images": (tf.float32, [None, 8, 8, 1])})
    needed = [item.name for item in model.variables() if not item.optional]
    assert needed == [f"{scope}/{name}" for scope in ("conv1", "fc1", "logits") for name in ("weights", "biases")]
    optional = {item.name: item for item in model.variables() if item.optional}
    assert {"global_step", "aux/weights", "beta1_power", "fc1/weights/Adam"} <= optional.keys()
    assert "fc1/weights/ExponentialMovingAverage" in optional
    assert (optional["aux/weights"].dtype, optional["aux/weights"].shape) == (None, (4,))


def test_misfits_are_refused_by_load() -> None:
    model = GraphModel(dense, ROWS)
    fine = made(model, 0)
    with pytest.raises(Mismatch, match=r"'dense/bias' of the model was given no array"):
        model.load({"dense/kernel": fine["dense/kernel"]})
    with pytest.raises(Mismatch, match=r"'dense/bias' has shape \(4,\); found \(3,\)"):
        model.load(fine | {"dense/bias": np.zeros(3, np.float32)})
    for odd in (bool, object, np.int8):
        with pytest.raises(Mismatch, match=rf"'dense/bias' has dtype float32; found {np.dtype(odd)}, which does not"):
            model.load(fine | {"dense/bias": np.zeros(4, odd)})
    wide = {name: array.astype(np.float64) for name, array in fine.items()}
    assert np.array_equal(model.predict(model.load(wide), X), model.predict(model.load(fine), X))


# --------------------------------------------------------------------------------------------------- what is fed to it


def gated(x: Any, is_training: Any = True) -> Any:
    return dense(tf.cond(tf.convert_to_tensor(is_training), lambda: tf.nn.dropout(x, rate=0.5), lambda: x))


def own_placeholders() -> Any:
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    keep = tf.placeholder(tf.float32, [], name="keep_prob")
    return dense(tf.nn.dropout(x, keep_prob=keep))


def test_feeds_are_arguments_or_placeholders_of_the_functions_own() -> None:
    plain = GraphModel(dense, ROWS)
    tensors = made(plain, 0)
    expected = plain.predict(plain.load(tensors), X)
    for model in (
        GraphModel(gated, ROWS, feeds={"is_training": False}),
        GraphModel(own_placeholders, ROWS, feeds={"keep_prob": 1.0}),
        GraphModel(own_placeholders, ROWS, feeds={"keep_prob:0": 1}),
    ):
        np.testing.assert_allclose(model.predict(model.load(tensors), X), expected, rtol=1e-6)
    on = GraphModel(gated, ROWS, feeds={"is_training": True})
    weights = on.load(tensors)
    assert not np.array_equal(on.predict(weights, X), on.predict(weights, X))


def test_inputs_are_cast_only_where_no_number_changes() -> None:
    model = GraphModel(lambda x, n: dense(x) + tf.cast(n, tf.float32)[:, None], {**ROWS, "n": (tf.int32, [None])})
    weights = model.load(made(model, 0))
    n = np.arange(6, dtype=np.int32)
    expected = model.predict(weights, {"x": X, "n": n})
    assert np.array_equal(model.predict(weights, {"x": X.astype(np.float64), "n": n.astype(np.int64)}), expected)
    whole = (X * 10).astype(np.int8)
    assert model.predict(weights, {"x": whole, "n": n}).shape == (6, 4)
    for odd, message in (
        ({"x": X, "n": n + 0.5}, r"input 'n' is int32 \(None,\); the data gives float64"),
        ({"x": X, "n": n.astype(np.int64) + (1 << 40)}, "the data gives int64"),
        ({"x": X[:, :2], "n": n}, r"input 'x' is float32 \(None, 3\); the data gives float32 \(6, 2\)"),
        ({"x": X}, "takes the inputs x, n; the data gives inputs x"),
        (X, "takes the inputs x, n; the data gives one array"),
    ):
        with pytest.raises(DataError, match=message):
            model.predict(weights, odd)


def eager(x: Any) -> Any:
    return x + tf.placeholder(tf.float32, [], name="gain")


def lost(x: Any) -> Any:
    return x * tf.Variable(1.0, name="secret", collections=["mine"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GraphModel(3, ROWS), "takes a function that builds a graph; found a int"),  # type: ignore[arg-type]
        (lambda: GraphModel(dense, {"x": tf.float32}), "expected dtype and shape by name"),
        (lambda: GraphModel(dense, {"images": ROWS["x"]}), "takes x; 'x' is neither in inputs nor in feeds"),
        (lambda: GraphModel(lambda: tf.zeros([2]), ROWS), r"'x' is neither an argument .* nor a placeholder"),
        (lambda: GraphModel(lambda x: (x, {}), ROWS), r"returned a tuple of 2; .*network\(images\)\[0\]"),
        (lambda: GraphModel(lambda x: 3.0, ROWS), "returned float; expected a tensor"),
        (lambda: GraphModel(lambda x: tf.zeros([2]), ROWS), "the outputs do not depend on the input 'x'"),
        (lambda: GraphModel(eager, ROWS), r"placeholder 'gain', which is not fed: .*feeds=\{'gain'"),
        (lambda: GraphModel(lost, ROWS), "depend on the variable 'secret', which is in neither"),
        (lambda: GraphModel(dense, ROWS, restore={"old/w": "w"}), "restore names 'w', which the graph does not have"),
        (lambda: GraphModel(dense, ROWS, keep=("head/*",)), r"keep names 'head/\*', .* it has dense/bias, dense/kern"),
        (lambda: GraphModel(dense, ROWS, keep="w"), r"keep is a list of names or patterns"),
        (lambda: GraphModel(dense, ROWS, restore={"a/": "b"}), "or two scopes that end in '/'"),
        (lambda: GraphModel(dense, ROWS, feeds={"x": 1}), "expected a number or a truth value for what is no input"),
        (lambda: GraphModel(dense, ROWS, feeds={"y": [1]}), "expected a number or a truth value"),
        (lambda: GraphModel(dense, ROWS, device="gpu:9"), "device 'gpu:9': TensorFlow finds"),
        (lambda: GraphModel(dense, ROWS, init_fn=print, ignore=["a"]), "restores by its own rules"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make: Callable[[], GraphModel], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make().variables()


def test_slim_without_tf_keras_names_the_extra() -> None:
    def normed(x: Any) -> Any:
        raise ModuleNotFoundError("No module named 'tf_keras'", name="tf_keras")

    with pytest.raises(MissingExtra, match=r"pip install 'milepost\[slim\]'"):
        GraphModel(normed, ROWS).variables()


def test_running_out_of_memory_has_its_own_error() -> None:
    model = GraphModel(lambda x: tf.reshape(tf.tile(x, [1, 1 << 40]), [-1]) + tf.get_variable("b", []), ROWS)
    weights = model.load({"b": np.zeros((), np.float32)})
    with pytest.raises(OutOfMemory, match="a batch or its outputs did not fit into memory"):
        model.predict(weights, X)


# ------------------------------------------------------------------------------------------------ values of its own


def test_first_values_are_the_same_in_every_graph_and_others_are_refused() -> None:
    names = ["dense/kernel", "dense/bias"]
    first, second = (GraphModel(dense, ROWS).initial(names) for _ in range(2))
    assert first.keys() == set(names)
    assert all(np.array_equal(first[name], second[name]) for name in names)
    assert np.ptp(first["dense/kernel"]) > 0
    assert GraphModel(parted, ROWS).initial(["table"])["table"].shape == (3, 5)
    drawn = np.random.default_rng()
    odd = GraphModel(lambda x: x * tf.get_variable("w", initializer=np.float32(drawn.random())), ROWS)
    with pytest.raises(UsageError, match="w is not restored, and building the model gives it other values each time"):
        odd.initial(["w"])


# -------------------------------------------------------------------------------------------------------------- causes


def test_random_operations_are_named_with_their_line() -> None:
    def noisy(x: Any) -> Any:
        return dense(tf.nn.dropout(x, rate=0.5))

    model = GraphModel(noisy, ROWS)
    found = model.suspects(model.load(made(model, 0)), X)
    assert re.fullmatch(
        r"dropout/random_uniform/RandomUniform \(RandomUniform\) draws random numbers at test_tf1\.py:\d+: .*", found[0]
    )
    inside = GraphModel(gated, ROWS, feeds={"is_training": True})
    assert any("RandomUniform" in item for item in inside.suspects(inside.load(made(inside, 0)), X))
    quiet = GraphModel(dense, ROWS)
    assert quiet.suspects(quiet.load(made(quiet, 0)), X) == []


@pytest.mark.parametrize(
    ("fused", "message"), [(True, r"FusedBatchNormV3 normalises by the batch's own"), (False, "moments of")]
)
def test_batch_norm_in_training_mode_is_named(fused: bool, message: str) -> None:
    model = GraphModel(lambda images: block(images, is_training=True, fused=fused), PICTURES)
    found = model.suspects(model.load(made(model, 0)), IMAGES)
    assert re.search(message, found[0]), found


def test_variables_that_a_prediction_changes_are_named_with_the_operation() -> None:
    def counting(x: Any) -> Any:
        seen = tf.get_variable("seen", [], initializer=tf.zeros_initializer())
        with tf.control_dependencies([tf.assign_add(seen, 1.0)]):
            return dense(x) + 0 * seen

    model = GraphModel(counting, ROWS)
    weights = model.load(made(model, 0))
    changed = model.changes(weights)
    assert changed() == []
    model.predict(weights, X)
    assert changed() == ["seen (by AssignAddVariableOp)"]
