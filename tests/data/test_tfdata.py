"""tf.data as a source: the laws, what NumPy says of the same rows, and each mistake's own error."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from milepost.core.types import Batch
from milepost.data import Arrays, Batches, TFDataset, TFRecords
from milepost.errors import DataError, UnstableData, UsageError
from milepost.tasks import Classification
from milepost.testing.sources import check_source


@pytest.fixture(autouse=True)
def _no_seed() -> None:
    """Chance is chance here, whatever other tests of this process have seeded."""
    tf.random.set_seed(None)


N = 36
RNG = np.random.default_rng(11)
X = RNG.standard_normal((N, 3, 2)).astype(np.float32)
Y = (np.arange(N) * 7 % 10).astype(np.int64)
WEIGHTS = np.where(np.arange(N) % 9 == 4, 0.0, 0.5 + np.arange(N))


def rows(x: np.ndarray = X, y: np.ndarray = Y) -> Any:
    return tf.data.Dataset.from_tensor_slices((x, y))


def named() -> Any:
    table = {
        "image": X,
        "size": np.arange(N, dtype=np.int32),
        "class": Y,
        "weight": WEIGHTS,
        "valid": np.arange(N) % 7 != 1,
        "key": [f"k{index}" for index in range(N)],
        "site": [f"site {index % 3}" for index in range(N)],
        "patient": [index // 4 for index in range(N)],
    }
    return tf.data.Dataset.from_tensor_slices(table)


def everything(source: Any, batch_size: int = 10) -> list[Batch]:
    return list(source.batches(0, 10**6, batch_size))


def same(x: Any, y: Any) -> Any:
    return x, y


def cut(x: Any, y: Any) -> Any:
    return x[: y % 2 + 1], y


def few(x: Any, y: Any) -> Any:
    return y < 9


def joined(source: Any) -> tuple[np.ndarray, np.ndarray]:
    found = everything(source)
    return np.concatenate([batch.inputs for batch in found]), np.concatenate([batch.labels for batch in found])


def test_rows_and_batches_keep_the_laws() -> None:
    changed = [
        lambda: TFDataset(rows(X + 1)),
        lambda: TFDataset(rows(y=Y[::-1])),
        lambda: TFDataset(rows(), version="toy@1"),
        lambda: TFDataset(rows().take(20)),
        lambda: TFDataset(rows(), label_offset=1),
    ]
    # Made once: tracing the user's functions takes most of the time.
    plain, mapped = rows(), rows().filter(few).batch(7).map(same).prefetch(1)
    check_source(lambda: TFDataset(plain), changed)
    check_source(lambda: TFDataset(mapped))


def test_dicts_with_everything_keep_the_laws() -> None:
    table = named()

    def make() -> TFDataset:
        return TFDataset(
            table,
            inputs=["image", "size"],
            label="class",
            weights="weight",
            mask="valid",
            ids="key",
            slices=("site",),
            groups="patient",
            label_map={label: None if label == 5 else label // 2 for label in range(10)},
        )

    check_source(make)
    found = everything(make(), N)[0]
    kept = (WEIGHTS > 0) & (np.arange(N) % 7 != 1) & (Y != 5)
    assert found.ids is not None
    assert found.ids.tolist() == [f"k{index}" for index in np.flatnonzero(kept)]
    assert found.labels.tolist() == (Y[kept] // 2).tolist()
    assert found.slices is not None
    assert found.slices["site"].dtype.kind == "U"


def test_the_same_rows_give_the_same_columns_as_arrays() -> None:
    weights = RNG.standard_normal((6, 10)).astype(np.float32)
    task = Classification(outputs="logits")
    wanted = frozenset(task.columns())

    def columns(source: Any) -> list[tuple[str, bytes]]:
        made = [
            task.reduce(batch.inputs.reshape(-1, 6) @ weights, batch.labels, wanted) for batch in everything(source, 16)
        ]
        return [(name, np.concatenate([item[name] for item in made]).tobytes()) for name in sorted(wanted)]

    expected = columns(Arrays(X, Y, order="natural"))
    for dataset in (rows(), rows().batch(7), rows().batch(N), rows().cache().batch(2).prefetch(3)):
        assert columns(TFDataset(dataset)) == expected
    assert TFDataset(rows().batch(7)).fingerprint() == Batches(lambda: [(X, Y)], size=N).fingerprint()


def test_the_size_is_known_or_counted() -> None:
    assert TFDataset(rows()).size == N
    assert TFDataset(rows().batch(7).map(same)).size == N
    for dataset in (rows().batch(7).take(3), rows().filter(few), rows().batch(7).skip(1)):
        source = TFDataset(dataset)
        assert source.size is None
        count = sum(len(batch.labels) for batch in everything(source))
        assert source.size == count


def test_dropped_rows_are_had_back_or_refused() -> None:
    with pytest.warns(UserWarning, match=r"drop_remainder=True is not used: the last rows \(1 of 36\) are evaluated"):
        source = TFDataset(rows().batch(7, drop_remainder=True).prefetch(2))
    assert source.size == N
    assert joined(source)[1].tolist() == Y.tolist()
    assert source.described()["notes"] == list(source.notes)
    with pytest.raises(UsageError, match=r"leaves out the last rows \(1 of 36\).*drop_remainder=False"):
        TFDataset(rows().batch(7, drop_remainder=True).map(same))
    with pytest.raises(UsageError, match=r"the last rows \(up to 7 - 1\)"):
        TFDataset(rows().filter(few).batch(7, drop_remainder=True).map(same))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert TFDataset(rows().batch(9, drop_remainder=True)).size == N


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: rows().repeat(), UsageError, r"repeats its rows for ever"),
        (lambda: rows().repeat(2).batch(4), UsageError, r"repeats its rows 2 times"),
        (lambda: rows().shuffle(8), UnstableData, r"shuffled again in every pass"),
        (lambda: rows().shuffle(8, seed=1).batch(3), UnstableData, r"shuffled again in every pass"),
        (lambda: rows().shuffle(8, reshuffle_each_iteration=False), UnstableData, r"again in every process"),
        (
            lambda: rows().map(same, num_parallel_calls=2, deterministic=False),
            UnstableData,
            r"left to chance",
        ),
        (lambda: rows().apply(tf.data.experimental.assert_cardinality(-1)), UsageError, r"never ends"),
        (lambda: rows(y=X).map(same), UsageError, r"set batched=True or batched=False"),
        (lambda: [1], UsageError, r"takes a tf\.data\.Dataset; found a list"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(make: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        TFDataset(make())


@pytest.mark.parametrize("version", [None, "toy@1"])
def test_a_random_transform_is_refused(version: str | None) -> None:
    def noise(x: Any, y: Any) -> Any:
        return x + tf.random.uniform(()), y

    noisy = rows().map(noise)
    with pytest.raises(UnstableData, match=r"first 64 rows, read twice, differ"):
        TFDataset(noisy, version=version).fingerprint()


def test_a_seeded_shuffle_that_repeats_is_taken() -> None:
    source = TFDataset(rows().shuffle(N, seed=5, reshuffle_each_iteration=False))
    assert source.fingerprint() == source.fingerprint()
    assert joined(source)[1].tolist() == joined(source)[1].tolist() != Y.tolist()


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda: rows(y=Y.astype(np.float32)), {}, r"labels: expected integers; found dtype float32"),
        (lambda: tf.data.Dataset.from_tensor_slices(X), {"batched": True}, r"expected .inputs, label.*or a dict"),
        (named, {"batched": False}, r"items are dicts with .*name the entries"),
        (named, {"inputs": "img", "label": "class"}, r"unknown entry 'img'"),
        (lambda: rows().map(cut).ragged_batch(4), {}, r"to_tensor"),
        (lambda: rows().map(cut), {}, r"TensorFlow could not read the data set"),
    ],
)
def test_elements_that_do_not_fit_are_refused(make: Callable[[], Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        everything(TFDataset(make(), **options))


def test_a_data_set_of_a_graph_and_a_graph_around_a_pass() -> None:
    graph = tf.Graph()
    with graph.as_default():
        source = TFDataset(tf.compat.v1.data.Dataset.from_tensor_slices((X, Y)).batch(8))
    assert joined(source)[1].tolist() == Y.tolist()
    assert source.size == N
    eager = TFDataset(rows().batch(8))
    with tf.Graph().as_default():
        assert joined(eager)[1].tolist() == Y.tolist()


def write(path: Path, first: int, last: int) -> str:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for index in range(first, last):
            writer.write(X[index].tobytes() + bytes([int(Y[index])]))
    return str(path)


def parse(record: Any) -> Any:
    pixels = tf.io.decode_raw(tf.strings.substr(record, 0, 24), tf.float32)
    return tf.reshape(pixels, [3, 2]), tf.io.decode_raw(tf.strings.substr(record, 24, 1), tf.uint8)[0]


def test_records_keep_the_laws_and_damage_is_reported(tmp_path: Path) -> None:
    parts = [write(tmp_path / f"part-{number}.tfrecord", *ends) for number, ends in ((9, (0, 10)), (10, (10, N)))]
    pattern = str(tmp_path / "part-*.tfrecord")
    source = TFRecords(pattern, parse)
    assert source.fingerprint() != TFRecords(parts[::-1], parse).fingerprint()
    assert joined(source)[1].tolist() == Y.tolist()
    assert np.array_equal(joined(source)[0], X)
    with pytest.raises(DataError, match=r"no file is found at .*none"):
        TFRecords(tmp_path / "none.tfrecord", parse)
    Path(parts[1]).write_bytes(Path(parts[1]).read_bytes()[:-3])
    with pytest.raises(DataError, match=r"could not read the data set: DataLossError"):
        everything(TFRecords(parts, parse))


def test_the_batch_size_is_that_of_the_chain() -> None:
    rows = tf.data.Dataset.from_tensor_slices((np.zeros((10, 2), np.float32), np.arange(10)))
    assert TFDataset(rows).own_batch_size is None
    assert TFDataset(rows.batch(4).prefetch(1)).own_batch_size == 4
    with pytest.warns(UserWarning, match="drop_remainder"):
        assert TFDataset(rows.batch(4, drop_remainder=True)).own_batch_size == 4


def test_a_version_that_is_none_names_the_source() -> None:
    with pytest.raises(UsageError, match=r'^TFDataset\(version=\'1\'\): .* TFDataset\(\.\.\., version="digits@1"\)'):
        TFDataset(rows().batch(4), version="1")
    assert TFDataset(rows().batch(4), version="digits@1").fingerprint()["version"] == "digits@1"
