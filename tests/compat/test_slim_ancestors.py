"""What the ancestors' own suites hold their evaluation to: the same of ours, in cases of our own."""

import importlib
import inspect
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.compat._series import model, save

from milepost.compat import slim
from milepost.compat.slim import contrib, evaluation, metrics, tf_metrics, training
from milepost.errors import UsageError, Vanished

import tensorflow.compat.v1 as tf  # isort: skip  # behind the adapter, which keeps it quiet
import tf_slim  # isort: skip

pytestmark = pytest.mark.filterwarnings("ignore:.*is tf_slim.metrics's own, not Milepost's:UserWarning")
ROWS = np.arange(360, dtype=np.float32)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    save(folder, 1, 2)
    return folder


def counter(name: str = "count") -> Any:
    return tf.get_variable(name, [], initializer=tf.zeros_initializer(), collections=[tf.GraphKeys.LOCAL_VARIABLES])


def test_eval_op_may_be_an_assignment(series: Path) -> None:
    """A session is given what `tf.assign_add` returns for a resource variable, alone, in a list or by name."""
    with tf.Graph().as_default():
        model()
        mine = counter()
        assert type(tf.assign_add(mine, 1.0)).__name__ == "_UnreadVariable", "a reference variable would be a tensor"
        added, fed = tf.assign_add(mine, 1.0), tf.placeholder(tf.float32, [])
        for ops in (added, [added], {"a": added}, {"a": added}.values(), tf.assign_add(mine, fed)):
            found = evaluation.evaluate_once(
                "",
                f"{series}/model.ckpt-1",
                None,
                5,
                eval_op=ops,
                eval_op_feed_dict={fed: 1.0},
                final_op={"more": mine + 9.0}.values(),
            )
            assert found == [14.0]


def test_the_eval_step_is_read_after_everything_that_adds_to_it(series: Path) -> None:
    """Whoever counts two evaluations a run gets half as many runs, every time."""
    with tf.Graph().as_default():
        model()
        mine = counter()
        # The slow way round, so that Milepost's own addition would be read before it.
        with tf.control_dependencies([tf.py_function(lambda: None, [], [])]):
            more = tf.assign_add(training.get_or_create_eval_step(), 1, use_locking=True)
        ops, hooks = [tf.assign_add(mine, 1.0), more], [training.StopAfterNEvalsHook(6)]
        for step in (1, 2, 1, 2, 1):
            found = training.evaluate_once(f"{series}/model.ckpt-{step}", eval_ops=ops, final_ops=mine, hooks=hooks)
            assert found == 3.0
        assert len(hooks) == 1
        assert len(ops) == 2


def test_absent_checkpoints_are_value_errors_too(series: Path) -> None:
    with tf.Graph().as_default():
        model()
        for address, kind, words in (
            (None, UsageError, "no checkpoint was given"),
            ("", UsageError, r"a folder; give one checkpoint of it \(model\.ckpt-1, model\.ckpt-2\)"),
            ("gone", Vanished, "no checkpoint is there"),
        ):
            calls: list[Callable[[Any], Any]] = [
                lambda at: evaluation.evaluate_once("", at, None),
                training.evaluate_once,
            ]
            for call in calls:
                with pytest.raises(ValueError, match=words) as caught:
                    call(None if address is None else f"{series}/{address}")
                assert isinstance(caught.value, kind)
        with pytest.raises(ValueError, match=r"needs log_dir or summary_writer"):
            slim.SummaryAtEndHook()


def test_the_newest_is_taken_where_one_evaluation_is_asked_for(series: Path) -> None:
    with tf.Graph().as_default():
        w = model()
        assert training.wait_for_new_checkpoint(str(series), None) == f"{series}/model.ckpt-2"
        for most, steps in ((1, [2]), (2, [1, 2]), (9, [1, 2])):
            results = training.evaluate_repeatedly(
                str(series), final_ops=w, timeout=0, max_number_of_evaluations=most, eval_interval_secs=0
            )
            assert [(one.step, one.value) for one in results] == [(step, float(step)) for step in steps]


def test_without_a_final_op_the_scalars_of_the_summary_are_the_result(series: Path, tmp_path: Path) -> None:
    with tf.Graph().as_default():
        w = model()
        tf.summary.scalar("weight", w)
        tf.summary.scalar("twice", 2 * w)
        tf.summary.histogram("not a number", w)
        results = evaluation.evaluation_loop("", str(series), str(tmp_path), timeout=0)
        expected = [{"weight": 1.0, "twice": 2.0}, {"weight": 2.0, "twice": 4.0}]
        assert [one.value for one in results] == expected
        lines = (tmp_path / "milepost-results.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["value"] for line in lines] == expected
        hooks = [slim.SummaryAtEndHook(str(tmp_path))]
        path = f"{series}/model.ckpt-2"
        assert training.evaluate_once(path, hooks=hooks) == expected[1]
        assert training.evaluate_once(path, final_ops=w, hooks=hooks) == 2.0
        assert evaluation.evaluate_once("", path, None, summary_op=None) is None


@pytest.mark.parametrize("name", training.__all__)
def test_contrib_training_has_its_own_signatures(name: str) -> None:
    mine = inspect.signature(getattr(slim.tf.contrib.training, name)).parameters.values()
    plain = [(item.name, item.default) for item in mine if item.kind is not item.KEYWORD_ONLY]
    original = importlib.import_module("tf_slim.training.evaluation")
    theirs = inspect.signature(getattr(original, name)).parameters.values()
    assert plain == [(item.name, item.default) for item in theirs]


def test_contrib_is_what_slim_needs_of_it() -> None:
    assert slim.tf.contrib.slim is slim
    assert slim.tf.contrib.training is slim.training is slim.train_eval is training
    assert slim.tf.contrib.metrics is metrics
    assert contrib.layers.conv2d is contrib.slim.conv2d is tf_slim.conv2d
    assert contrib.framework.arg_scope is tf_slim.arg_scope
    assert training.create_train_op is tf_slim.training.create_train_op
    assert {"slim", "training"} <= set(dir(contrib))
    with pytest.raises(AttributeError, match=r"TensorFlow 2 has no tf\.contrib; Milepost has slim, training"):
        _ = slim.tf.contrib.rnn
    with pytest.raises(AttributeError, match="evaluate_onse"):
        _ = training.evaluate_onse
    with tf.Graph().as_default():
        made = slim.local_variable(0.5, name="mine")
        assert tf.local_variables() == [made]
        assert not tf.global_variables()


def test_a_name_that_today_s_tensorflow_cannot_run_says_so() -> None:
    own = r"does not run on TensorFlow 2\."
    cases: list[tuple[Callable[[Any, Any], Any], str]] = [
        (lambda chance, _: metrics.streaming_concat(chance), r"\(scikit-learn\) until Milepost has it"),
        (lambda chance, truth: metrics.streaming_dynamic_auc(truth, chance), own),
        (lambda chance, truth: metrics.auc_using_histogram(truth, chance, [0.0, 1.0]), own),
        (
            lambda chance, truth: metrics.streaming_true_positives_at_thresholds(chance, truth, [0.5]),
            r"use tf\.metrics\.true_positives_at_thresholds, which takes labels first",
        ),
    ]
    for call, words in cases:
        with tf.Graph().as_default(), pytest.raises(UsageError, match=words):
            call(tf.constant([0.2, 0.8]), tf.constant([True, False]))
    with tf.Graph().as_default(), pytest.raises(TypeError, match="missing 1 required positional argument: 'k'"):
        metrics.streaming_sparse_precision_at_k(None, None)
    with tf.Graph().as_default():
        value, _ = metrics.streaming_mean_squared_error(tf.constant([1.0]), tf.constant([2.0]))
        assert value.dtype == tf.float32, "what runs is handed on as it is"


def producer(rows: int, threads: int = 1, **more: Any) -> Callable[[], Any]:
    def made() -> Any:
        (one,) = tf.train.slice_input_producer([tf.constant(ROWS)], shuffle=False, **more)
        return tf.train.batch([one], rows, num_threads=threads, allow_smaller_final_batch="num_epochs" in more)

    return made


def queued(rows: int) -> Callable[[], Any]:
    """Batches that pass a further queue, as Slim's prefetch_queue makes one."""

    def made() -> Any:
        batch = producer(rows)()
        queue = tf.FIFOQueue(2, [tf.float32])
        tf.train.add_queue_runner(tf.train.QueueRunner(queue, [queue.enqueue([batch])]))
        return tf.reshape(queue.dequeue(), [rows])

    return made


def dataset(build: Callable[[Any], Any], *, one_shot: bool = False) -> Callable[[], Any]:
    def made() -> Any:
        data = build(tf.data.Dataset.from_tensor_slices(ROWS))
        if one_shot:
            return tf.data.make_one_shot_iterator(data).get_next()
        iterator = tf.data.make_initializable_iterator(data)
        tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
        return iterator.get_next()

    return made


CERTAIN = "num_evals=4 takes 400 rows of data that has 360: some count twice"
PASSES: list[tuple[Callable[[], Any], int | None, str | None]] = [
    (producer(100), 4, CERTAIN),
    (producer(100, threads=3), 4, CERTAIN),
    (queued(100), 4, CERTAIN),
    (producer(90), 4, None),
    (producer(100, num_epochs=1), 4, None),
    (producer(100, num_epochs=1), None, None),
    (producer(100, num_epochs=2), 4, CERTAIN),
    (dataset(lambda data: data.repeat().batch(100)), 4, CERTAIN),
    (dataset(lambda data: data.repeat().batch(100), one_shot=True), 4, CERTAIN),
    (dataset(lambda data: data.shuffle(9).map(tf.identity).repeat().batch(50).batch(2).prefetch(1)), 4, CERTAIN),
    (dataset(lambda data: data.repeat().batch(90)), 4, None),
    (dataset(lambda data: data.batch(100).repeat()), 5, "num_evals=5 takes 5 batches of data that has 4: some"),
    (dataset(lambda data: data.batch(100).repeat()), 4, None),
    (dataset(lambda data: data.batch(100).repeat(1)), 5, None),
    (dataset(lambda data: data.repeat().take(360).batch(100)), 5, None),
    (dataset(lambda data: data.batch(100)), 9, None),
    (dataset(lambda data: data.filter(lambda row: row >= 0).repeat().batch(100)), 4, "fewer than 400 rows, some count"),
    (
        dataset(lambda data: data.repeat().filter(lambda row: row >= 0).batch(100)),
        4,
        "fewer than they take, some count",
    ),
]


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize(("make", "number", "words"), PASSES)
def test_rows_that_count_twice_are_warned_of(
    make: Callable[[], Any], number: int | None, words: str | None, series: Path
) -> None:
    with tf.Graph().as_default(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value, update = tf_metrics.mean(make() * model())
        (result,) = evaluation.evaluation_loop(
            "", str(series), None, number, eval_op=update, final_op=value, max_number_of_evaluations=1
        )
    warned = [
        str(item.message) for item in caught if "begins again" in str(item.message) or "some count" in str(item.message)
    ]
    assert len(warned) == (words is not None), warned
    assert result.notes.get("data") == (warned[0] if warned else None)
    if words is None:
        assert result.value == 2 * ROWS.mean()
    else:
        assert words in warned[0]
        assert "num_evals=None" in warned[0]
        assert [item.filename for item in caught if str(item.message) == warned[0]] == [__file__]


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_files_that_begin_again_are_warned_of(series: Path, tmp_path: Path) -> None:
    """Slim's own input: records of files, read without an end."""
    with tf.io.TFRecordWriter(str(tmp_path / "records")) as writer:
        for row in range(5):
            writer.write(str(row).encode())
    for epochs, words in ((None, "where it has fewer than 6 rows"), (1, None)):
        with tf.Graph().as_default(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            files = tf.train.string_input_producer([str(tmp_path / "records")], num_epochs=epochs)
            _, record = tf.TFRecordReader().read(files)
            batch = tf.train.batch([tf.strings.to_number(record)], 2, allow_smaller_final_batch=True)
            value, update = tf_metrics.mean(batch * model())
            found = evaluation.evaluate_once("", f"{series}/model.ckpt-1", None, 3, eval_op=update, final_op=value)
        warned = [str(item.message) for item in caught if "some count twice" in str(item.message)]
        assert len(warned) == (words is not None), warned
        assert words is None or words in warned[0]
        assert found == (2.0 if words is None else (0 + 1 + 2 + 3 + 4 + 0) / 6)


def test_labels_may_be_sparse_values_and_shapes_that_do_not_fit_are_refused_as_the_graph_is_built() -> None:
    labels = tf.SparseTensorValue(np.array([[0, 0], [1, 0], [1, 1]]), np.array([1, 3, 0]), np.array([2, 2]))
    with tf.Graph().as_default(), tf.Session() as session:
        value, update = tf_metrics.recall_at_k(labels, tf.constant([[0.0, 9, 1, 2]] * 2), 1)
        session.run(tf.local_variables_initializer())
        assert session.run([value, update]) == [1 / 3, 1 / 3]
        three, four = tf.ones([3]), tf.ones([4])
        calls: list[Callable[[], Any]] = [
            lambda: tf_metrics.accuracy(three, four),
            lambda: metrics.streaming_accuracy(three, three, four),
            lambda: tf_metrics.mean_per_class_accuracy(three, four, 2),
            lambda: tf_metrics.mean(three, tf.ones([2, 2])),
            lambda: tf_metrics.recall_at_k(tf.ones([3, 1], tf.int64), tf.ones([4, 5]), 2),
        ]
        for call in calls:
            with pytest.raises(ValueError, match=r"expected|came with"):
                call()
        assert not tf.get_collection(tf.GraphKeys.UPDATE_OPS)
