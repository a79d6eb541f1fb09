"""TensorFlow itself as the judge, in one process: writes checkpoints of every kind, and says what its reader finds.

Words: a folder to write into, and prefixes of other checkpoints to be read.  `judged.json` in the folder holds, by
prefix, the tensors that `tf.train.load_checkpoint` gives (dtype, shape, digest of their bytes), or its refusal.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
NUMBERS = (
    "float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
    "uint64", "bool", "complex64", "complex128", "float8_e5m2", "float8_e4m3fn", "int4", "uint4", "qint8", "quint8",
    "qint32", "qint16", "quint16",
)  # fmt: skip
SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (5,), (0, 3), (2, 3, 4))
OLD = ("float32", "float64", "int32", "int64", "int16", "int8", "uint8", "bool", "complex64")


def array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return values of a type; complex ones and negative ones where it has them."""
    kind = np.dtype(tf.as_dtype(name).as_numpy_dtype)
    draw = np.random.default_rng(len(shape))
    if name == "bool":
        return np.asarray(draw.integers(0, 2, shape)).astype(bool)
    if name.startswith("complex"):
        return np.asarray(draw.normal(size=shape) + 1j * draw.normal(size=shape)).astype(kind)
    if name in ("float64", "float32", "float16", "bfloat16"):
        return np.asarray(draw.normal(size=shape)).astype(kind)
    values = np.asarray(draw.integers(0 if name.startswith(("u", "qu")) else -7, 7, shape))
    return values.astype(kind if kind.names is None else kind[0])


def tensor(name: str, shape: tuple[int, ...]) -> Any:
    """Return a tensor of a type, quantised ones included."""
    values = array(name, shape)
    return tf.bitcast(values, tf.as_dtype(name)) if name.startswith("q") else tf.constant(values, tf.as_dtype(name))


def save_all(place: Path, names: tuple[str, ...], *, old: bool) -> None:
    """Save tensors of every type and shape, slices near and far, a step and strings, by the ops themselves."""
    place.parent.mkdir(parents=True, exist_ok=True)
    held: list[tuple[str, str, Any]] = []
    for name in names:
        held += [(f"{name}/{'x'.join(map(str, shape)) or 'scalar'}", "", tensor(name, shape)) for shape in SHAPES]
    held.append(("global_step", "", tf.constant(900, tf.int64)))
    whole = tf.constant(array("float32", (10_000, 3)))
    for start, stop in ((0, 50), (50, 200), (200, 9000), (9000, 10_000)):
        held.append(("rows", f"10000 3 {start},{stop - start}:-", whole[start:stop]))
    for start, stop in ((0, 1), (1, 3)):
        held.append(("columns", f"10000 3 0,10000:{start},{stop - start}", whole[:, start:stop]))
    if not old:
        held.append(("text", "", tf.constant([b"", b"a\0b", b"long " * 100])))
    held.sort(key=lambda item: item[0])
    keys, slices, tensors = zip(*held, strict=True)
    if old:
        tf.raw_ops.SaveSlices(filename=str(place), tensor_names=keys, shapes_and_slices=slices, data=tensors)
    else:
        tf.raw_ops.SaveV2(prefix=str(place), tensor_names=keys, shape_and_slices=slices, tensors=tensors)


def saved(place: Path, version: Any) -> None:
    """Save a trained graph's variables with a Saver, as TF 1 programs did."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default(), v1.Session() as session:
        trained()
        session.run(v1.variables_initializer(v1.trainable_variables()))  # averages begin with their values
        session.run(v1.global_variables_initializer())
        v1.train.Saver(write_version=version).save(session, str(place), global_step=0)


def trained() -> None:
    """Make a small model with Adam's slots and averages."""
    w = v1.get_variable("layer/w", (3, 2), use_resource=False)
    b = v1.get_variable("layer/b", (2,), use_resource=False)
    step = v1.train.get_or_create_global_step()
    loss = v1.reduce_sum(tf.matmul(tf.ones((1, 3)), w) + b)
    update = v1.train.AdamOptimizer().minimize(loss, global_step=step)
    with tf.control_dependencies([update]):
        v1.train.ExponentialMovingAverage(0.9).apply([w, b])
    v1.train.MomentumOptimizer(0.1, 0.9).minimize(loss)


def sharded() -> None:
    """Put variables on two devices, so that a sharded Saver writes two shards."""
    for number in range(2):
        with tf.device(f"/job:localhost/task:0/device:CPU:{number}"):
            v1.get_variable(f"v{number}", (number + 2, 3))
            v1.get_variable(f"split{number}", (8, 3), partitioner=v1.fixed_size_partitioner(2), use_resource=False)


def write(folder: Path) -> None:
    """Write everything."""
    save_all(folder / "v2" / "all.ckpt", NUMBERS, old=False)
    save_all(folder / "v1" / "all.ckpt", OLD, old=True)
    saved(folder / "v2" / "trained.ckpt", v1.train.SaverDef.V2)
    saved(folder / "v1" / "trained.ckpt", v1.train.SaverDef.V1)
    config = v1.ConfigProto(device_count={"CPU": 2})
    with tf.Graph().as_default(), v1.Session(config=config) as session:
        sharded()
        session.run(v1.global_variables_initializer())
        (folder / "sharded").mkdir()
        v1.train.Saver(sharded=True).save(session, str(folder / "sharded" / "model.ckpt"), global_step=40)
        v1.train.Saver(sharded=True, write_version=v1.train.SaverDef.V1).save(session, str(folder / "sharded" / "old"))
    objects(folder)
    keras_series(folder)


def objects(folder: Path) -> None:
    """Write TF 2 checkpoints: plain objects, and a SavedModel."""
    module = tf.Module()
    module.kernel = tf.Variable(array("float32", (3, 4)), name="kernel")
    module.table = tf.Variable(array("bfloat16", (2, 3)))
    setattr(module, "odd/name.x", tf.Variable([1.0]))
    step = tf.Variable(900, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(net=module, step=step, words=tf.Variable(["a", "bc"]))
    manager = tf.train.CheckpointManager(checkpoint, str(folder / "objects"), max_to_keep=3)
    for number in (100, 200, 300):
        step.assign(number)
        manager.save()
    module.call = tf.function(lambda x: x @ module.kernel, input_signature=[tf.TensorSpec((None, 3))])
    tf.saved_model.save(module, str(folder / "saved_model"))
    tf.train.Checkpoint(net=module).save(str(folder / "counted" / "ckpt"))


def keras_series(folder: Path) -> None:
    """Write checkpoints of Keras 3 and tf_keras models that were trained for two steps."""
    import keras
    import tf_keras

    x, y = np.zeros((8, 4), "f4"), np.zeros((8, 2), "f4")
    for name, made in (("keras3", keras), ("tf_keras", tf_keras), ("legacy", tf_keras)):
        layers = made.layers
        model = made.Sequential([made.Input((4,)), layers.Dense(3), layers.BatchNormalization(), layers.Dense(2)])
        tf.train.Checkpoint(model=model).save(str(folder / f"{name}_bare" / "ckpt"))
        adam = made.optimizers.legacy.Adam() if name == "legacy" else "adam"
        model.compile(adam, "mse", metrics=["mae"], run_eagerly=True)
        model.train_on_batch(x, y)
        model.train_on_batch(x, y)
        tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(folder / name / "ckpt"))
        tf.train.Checkpoint(model=model).save(str(folder / f"{name}_alone" / "ckpt"))
    model.save(str(folder / "keras_saved_model"))


def reported(prefix: str) -> dict[str, Any]:
    """Return what TensorFlow's own reader gives: by name dtype, shape and digest, or why it refuses."""
    reader = tf.train.load_checkpoint(prefix)
    found: dict[str, Any] = {}
    for name, kind in reader.get_variable_to_dtype_map().items():
        if kind == tf.string:
            continue
        try:
            value = np.asarray(reader.get_tensor(name))
        except tf.errors.UnimplementedError as error:
            found[name] = error.message
            continue
        plain = value.dtype if value.dtype.names is None else value.dtype[0]
        found[name] = [plain.name, list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    write(folder)
    own = [str(path)[: -len(".index")] for path in sorted(folder.rglob("*.index"))]
    own += [str(path) for path in sorted((folder / "v1").glob("*.ckpt*")) if path.suffix != ".meta"]
    own.append(str(folder / "sharded" / "old-?????-of-00002"))
    judged = {prefix: reported(prefix) for prefix in [*own, *sys.argv[2:]]}
    (folder / "judged.json").write_text(json.dumps(judged))


if __name__ == "__main__":
    main()
