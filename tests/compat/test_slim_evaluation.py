"""Slim's evaluation calls: every checkpoint, none with random weights, and none that ends the loop."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.compat._series import model, save

import milepost.models.tf1  # noqa: F401 - first, since it keeps TensorFlow quiet
from milepost.compat.slim import _engine, evaluation, tf_metrics
from milepost.compat.slim._results import FILE
from milepost.errors import DataError, Mismatch, UsageError, Vanished

import tensorflow.compat.v1 as tf  # isort: skip  # behind the adapter, which keeps it quiet
import tf_slim  # isort: skip

ROWS = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
STEPS = (0, 40, 200, 1000)


def read(folder: str) -> list[dict[str, Any]]:
    """The results in a folder, oldest first; a line that a crash cut off is left out."""
    found = []
    for line in (Path(folder) / FILE).read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    save(folder, *STEPS)
    # Another machine's: the state file names what is not there.
    (folder / "checkpoint").write_text('model_checkpoint_path: "G:/CNN/tmp/model.ckpt-9"\n')
    return folder


@contextmanager
def pipeline(batch: int = 3, *, iterator: str = "initializable", w: Any = None) -> Iterator[tuple[Any, Any]]:
    """The mean of w * rows over a stream: 3 w."""
    with tf.Graph().as_default():
        data = tf.data.Dataset.from_tensor_slices(ROWS.astype(np.float32)).batch(batch)
        if iterator == "initializable":
            made = tf.data.make_initializable_iterator(data)
            tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, made.initializer)
        else:
            made = tf.data.make_one_shot_iterator(data)
        yield tf_metrics.mean((model() if w is None else w()) * made.get_next())


def test_every_checkpoint_is_evaluated_and_the_original_finds_none(series: Path, tmp_path: Path) -> None:
    with pipeline() as (value, update):
        tf.summary.scalar("mean", value)
        hooks: list[Any] = []
        results = evaluation.evaluation_loop(
            "", str(series), str(tmp_path), 3, eval_op=[update], final_op={"mean": value}, timeout=0, hooks=hooks
        )
        assert hooks == []
    assert [(os.path.basename(item.checkpoint), item.step, item.evals) for item in results] == [
        (f"model.ckpt-{step}", step, 3) for step in STEPS
    ]
    assert [item.value for item in results] == [{"mean": 3.0 * step} for step in STEPS]
    assert len({item.digest for item in results}) == len(STEPS)
    lines = read(str(tmp_path))
    assert [(line["step"], line["value"], line["failure"]) for line in lines] == [
        (step, {"mean": 3.0 * step}, None) for step in STEPS
    ]
    (events,) = tmp_path.glob("events.*")
    found = [
        (event.step, value.simple_value)
        for event in tf.train.summary_iterator(str(events))
        for value in event.summary.value
    ]
    assert found == [(step, 3.0 * step) for step in STEPS]
    with pipeline() as (value, update):
        original = tf_slim.evaluation.evaluation_loop(
            "", str(series), str(tmp_path), 3, eval_op=[update], final_op=value, eval_interval_secs=0, timeout=0
        )
    assert original is None, "the state file names a checkpoint that is not there, and the others are not looked for"


def test_one_graph_and_one_session_serve_all(series: Path) -> None:
    with pipeline() as (value, update):
        values = {"a": update}.values()  # what Python 2's documentation says to hand in
        evaluation.evaluate_once("", f"{series}/model.ckpt-40", None, None, eval_op=values, final_op=value)
        graph = tf.get_default_graph()
        before, session = len(graph.get_operations()), _engine._kept[graph].sessions
        for step in STEPS:
            found = evaluation.evaluate_once(
                "", f"{series}/model.ckpt-{step}", None, None, eval_op=values, final_op=value
            )
            assert found == 3.0 * step
        assert len(graph.get_operations()) - before <= 4, "no operation is made for each checkpoint"
        assert len(session) == 1


def test_an_iterator_that_cannot_begin_again_gets_a_session_of_its_own(series: Path) -> None:
    with pipeline(iterator="one shot") as (value, update):
        results = evaluation.evaluation_loop("", str(series), None, None, eval_op=update, final_op=value, timeout=0)
        assert [item.value for item in results] == [3.0 * step for step in STEPS]


def test_damage_is_a_result_and_the_loop_goes_on(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4, 5, 6, 8)
    save(tmp_path, 7, more={"extra": np.zeros(2, np.float32)})
    part = "data-00000-of-00001"
    flipped = bytearray((tmp_path / f"model.ckpt-2.{part}").read_bytes())
    flipped[1] ^= 1
    (tmp_path / f"model.ckpt-2.{part}").write_bytes(flipped)
    for file in tmp_path.glob("model.ckpt-2.*"):
        os.utime(file, (1e9, 1e9))  # what is as old as that is not being written
    (tmp_path / f"model.ckpt-3.{part}").write_bytes((tmp_path / f"model.ckpt-3.{part}").read_bytes()[:-2])
    (tmp_path / f"model.ckpt-4.{part}").unlink()
    (tmp_path / "model.ckpt-5.index").write_bytes(b"")
    (tmp_path / "model.ckpt-6.index").write_bytes((tmp_path / "model.ckpt-6.index").read_bytes()[:40])
    with pipeline() as (value, update):
        logdir = str(tmp_path / "log")
        results = evaluation.evaluation_loop("", str(tmp_path), logdir, None, eval_op=update, final_op=value, timeout=0)
    kinds = {item.step: item.failure.kind if item.failure else item.value for item in results}
    assert kinds == {1: 3.0, 2: "corrupt", 3: "torn", 4: "torn", 5: "torn", 6: "torn", 7: "mismatch", 8: 24.0}
    message = {line["step"]: line["failure"]["message"] for line in read(logdir) if line["failure"]}
    assert "extra" in message[7]
    assert "model.ckpt-4" in message[4]
    assert all("model.ckpt" in text or step == 7 for step, text in message.items())


def test_what_is_being_written_is_tried_again(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    index = tmp_path / "model.ckpt-2.index"
    whole = index.read_bytes()
    index.write_bytes(whole[:50])
    looks: list[int] = []

    def trained() -> bool:
        looks.append(1)
        if len(looks) == 2:
            index.write_bytes(whole)
        return len(looks) > 2

    with pipeline() as (value, update):
        results = evaluation.evaluation_loop(
            "",
            str(tmp_path),
            None,
            None,
            eval_op=update,
            final_op=value,
            timeout=0,
            timeout_fn=trained,
            eval_interval_secs=0,
        )
    assert [(item.step, item.value, item.failure) for item in results] == [(1, 3.0, None), (2, 6.0, None)]


def test_no_checkpoint_is_an_error_and_never_random_weights(series: Path, tmp_path: Path) -> None:
    with pipeline() as (value, update):

        def once(path: Any, **more: Any) -> Any:
            return evaluation.evaluate_once("", path, None, None, eval_op=update, final_op=value, **more)

        with pytest.raises(UsageError, match="the weights would be random"):
            once(None)
        with pytest.raises(UsageError, match=r"a folder; give one checkpoint of it \(model\.ckpt-0, model\.ckpt-40"):
            once(str(series))
        with pytest.raises(Vanished, match=r"no model\.ckpt-41\.index\); near it: model\.ckpt-4"):
            once(f"{series}/model.ckpt-41")
        random = tf.group(tf.global_variables_initializer(), tf.local_variables_initializer())
        assert once(f"{series}/model.ckpt-40.index", initial_op=random) == 120.0, "the checkpoint has the last word"
        with pytest.raises(DataError, match="eval_op was not run once"):
            evaluation.evaluate_once("", f"{series}/model.ckpt-40", None, None, eval_op=_ended(), final_op=value)


def _ended() -> Any:
    made = tf.data.make_initializable_iterator(tf.data.Dataset.range(0))
    tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, made.initializer)
    return made.get_next()


def test_what_to_restore_is_a_list_or_a_map_and_is_strict(series: Path) -> None:
    def both() -> Any:
        return model() + tf.get_variable("head", [], initializer=tf.zeros_initializer())

    with pipeline(w=both) as (value, update):

        def once(**more: Any) -> Any:
            path = f"{series}/model.ckpt-40"
            return evaluation.evaluate_once("", path, None, None, eval_op=update, final_op=value, **more)

        w, head = tf.global_variables()
        with pytest.raises(Mismatch, match="1 of 2 variables are missing: head"):
            once()
        with pytest.raises(Mismatch, match=r"have no value \(head\).*give an initial_op"):
            once(variables_to_restore=[w])
        assert once(variables_to_restore=[w], initial_op=head.initializer) == 120.0
        averages = {"w/ExponentialMovingAverage": w, "w": head}
        assert once(variables_to_restore=averages) == pytest.approx(3 * (40.5 + 40))
        with pytest.raises(
            Mismatch, match=r"1 of 2 names in .* are not in the checkpoint: global_stop \(nearest: global_step"
        ):
            once(variables_to_restore={"global_stop": w, "w": head})
        with pytest.raises(UsageError, match="variables_to_restore is empty"):
            once(variables_to_restore=[])


def test_a_partitioned_variable_and_an_average_of_the_graphs_own(tmp_path: Path) -> None:
    save(tmp_path, 5, more={"table": np.arange(6, dtype=np.float32)})
    with tf.Graph().as_default():
        model()
        tf.get_variable("w/ExponentialMovingAverage", [])
        parts = tf.get_variable("table", [6], partitioner=tf.fixed_size_partitioner(2))
        whole = tf.convert_to_tensor(parts)
        path = f"{tmp_path}/model.ckpt-5"
        found = evaluation.evaluate_once(
            "", path, None, eval_op=tf.no_op(), final_op=[whole, *tf.global_variables()[:2]]
        )
        assert [np.asarray(item).tolist() for item in found] == [[0, 1, 2, 3, 4, 5], 5.0, 5.5]
        some = evaluation.evaluate_once(
            "",
            path,
            None,
            final_op=whole,
            variables_to_restore={"table": parts},
            initial_op=tf.global_variables_initializer(),
        )
        assert some.tolist() == [0, 1, 2, 3, 4, 5]


def test_an_initial_op_and_an_init_fn_run_before_the_weights_come(series: Path) -> None:
    """The original runs neither once it has a checkpoint."""
    seen: list[Any] = []
    with tf.Graph().as_default():
        w = model()
        fed = tf.placeholder(tf.float32, [])
        count = tf.get_variable("count", [], initializer=tf.zeros_initializer(), collections=["own"])
        results = evaluation.evaluation_loop(
            "",
            str(series),
            None,
            initial_op=tf.group(count.assign(fed), w.assign(fed)),
            initial_op_feed_dict={fed: 7.0},
            init_fn=lambda session: seen.append(session.run([w, count])),
            final_op=[w, count],
            max_number_of_evaluations=2,
        )
    assert seen == [[7.0, 7.0], [7.0, 7.0]]
    assert [item.value for item in results] == [[200.0, 7.0], [1000.0, 7.0]]


def test_evaluate_repeatedly_takes_a_scaffold_and_the_callers_objects_stay(series: Path) -> None:
    with pipeline() as (value, update):
        (w,) = tf.global_variables()
        scaffold = tf.train.Scaffold(saver=tf.train.Saver({"w/ExponentialMovingAverage": w}))
        hooks, ops = [evaluation.StopAfterNEvalsHook(2, log_progress=False)], {"update": update}
        results = evaluation.evaluate_repeatedly(
            str(series), "", scaffold, ops, None, value, hooks=hooks, max_number_of_evaluations=1, latest_only=True
        )
        assert (len(hooks), list(ops)) == (1, ["update"])
        assert [(item.step, item.evals, item.value) for item in results] == [(1000, 2, 1000.5 * 2.5)]
        theirs = tf_slim.evaluation.StopAfterNEvalsHook(1)
        again = evaluation.evaluate_repeatedly(
            str(series), eval_ops=update, final_ops=value, hooks=[theirs], max_number_of_evaluations=2
        )
        # Old scripts say 1 for the newest: the last ones of those that lie there, in order.
        assert [(item.step, item.evals) for item in again] == [(200, 1), (1000, 1)]


def names(found: Any) -> list[str]:
    return [os.path.basename(path) for path in found]


def test_the_iterator_gives_every_checkpoint_once_and_never_loses_the_last(tmp_path: Path) -> None:
    save(tmp_path, 200, 40)
    asked: list[int] = []

    def trained() -> bool:
        asked.append(1)
        if len(asked) == 1:
            save(tmp_path, 1000)  # the last one, written while training says that it is done
            return True
        return False

    found = evaluation.checkpoints_iterator(str(tmp_path), timeout=0, timeout_fn=trained)
    assert names(found) == ["model.ckpt-40", "model.ckpt-200", "model.ckpt-1000"]
    assert len(asked) == 1
    assert names(evaluation.checkpoints_iterator(str(tmp_path), timeout=0, latest_only=True)) == ["model.ckpt-1000"]
    assert names(evaluation.checkpoints_iterator(str(tmp_path / "none"), timeout=0)) == []
    # One that is rewritten under its name, and one of an earlier step, are new.
    going = evaluation.checkpoints_iterator(str(tmp_path), timeout=0)
    assert names([next(going), next(going), next(going)])[-1] == "model.ckpt-1000"
    save(tmp_path, 40, 7)
    assert sorted(names(going)) == ["model.ckpt-40", "model.ckpt-7"]


def test_waiting_gives_the_newest_and_then_the_next_by_step(tmp_path: Path) -> None:
    assert evaluation.wait_for_new_checkpoint(str(tmp_path), timeout=0) is None
    save(tmp_path, 9, 10)
    assert evaluation.wait_for_new_checkpoint(str(tmp_path), None) == f"{tmp_path}/model.ckpt-10"
    first = f"{tmp_path}/model.ckpt-9"
    second = evaluation.wait_for_new_checkpoint(str(tmp_path), first)
    assert second == f"{tmp_path}/model.ckpt-10"
    assert evaluation.wait_for_new_checkpoint(str(tmp_path), second, timeout=0) is None
    assert evaluation.wait_for_new_checkpoint(str(tmp_path), latest_only=True) == second
    for file in tmp_path.glob("model.ckpt-9.*"):
        file.unlink()
    assert evaluation.wait_for_new_checkpoint(str(tmp_path), first) == second


def test_results_are_lines_and_a_line_cut_off_stays_alone(series: Path, tmp_path: Path) -> None:
    path = tmp_path / "milepost-results.jsonl"
    path.write_bytes(b'{"checkpoint": "/runs/mod')
    with tf.Graph().as_default():
        w = model()
        odd = {"w": w, "nan": w * np.nan, "text": tf.constant("a"), "big": tf.zeros([200, 200])}
        evaluation.evaluate_once("", f"{series}/model.ckpt-40", str(tmp_path), final_op=odd)
    assert len(path.read_bytes().splitlines()) == 2
    (line,) = read(str(tmp_path))
    assert line["value"] == {"w": 40.0, "nan": None, "text": "a", "big": {"dtype": "float32", "shape": [200, 200]}}
    assert json.dumps(line)


@pytest.mark.filterwarnings("ignore:.*is deprecated:UserWarning")  # TensorFlow's own, of its own layers
def test_the_digits_series_and_a_copy_of_it(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(shared_data / "checkpoints" / "digits_slim", folder)
    with tf.Graph().as_default():
        images = tf.zeros([1, 8, 8, 1])
        net = tf_slim.flatten(tf_slim.max_pool2d(tf_slim.conv2d(images, 8, [3, 3], scope="conv1"), [2, 2]))
        tf_slim.fully_connected(tf_slim.fully_connected(net, 32, scope="fc1"), 10, activation_fn=None, scope="logits")
        results = evaluation.evaluation_loop("", str(folder), None, final_op=tf.global_variables()[-1], timeout=0)
        assert [item.step for item in results] == [0, 40, 80, 120, 160, 200]
        reader = tf.train.load_checkpoint(str(folder / "model.ckpt-120"))
        assert results[3].value.tobytes() == reader.get_tensor("logits/biases").tobytes()
