"""Old scripts in a process of their own: two import lines changed, networks in other files, no graph of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests._material import import_path

NETWORK = """
import tf_slim as slim

def network(images):
    hidden = slim.conv2d(images, 4, [3, 3], normalizer_fn=slim.batch_norm)
    return slim.fully_connected(slim.flatten(slim.batch_norm(hidden)), 3, activation_fn=None)
"""
IMPORTS = """
from milepost.compat.slim import tf
from milepost.compat import slim
"""
IN_A_GRAPH = """
with tf.Graph().as_default():
    print(network(tf.placeholder(tf.float32, [None, 8, 8, 3])).shape.as_list())
"""
LOOP = """
import numpy as np

images, labels = tf.placeholder(tf.float32, [None, 8, 8, 3]), tf.placeholder(tf.int64, [None])
found = tf.argmax(network(images), 1)
value, update = tf.metrics.accuracy(labels, found)
same, again = slim.metrics.streaming_accuracy(found, labels)
rng = np.random.default_rng(0)
right = 0
with tf.Session() as session:
    session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
    for rows in (5, 2):
        feed = {images: rng.random((rows, 8, 8, 3)), labels: rng.integers(0, 3, rows)}
        right += (session.run([found, update, again], feed)[0] == feed[labels]).sum()
    assert session.run([value, same]) == [right / 7, right / 7]
    saver = tf.train.Saver()
    for step in (1, 2):
        saver.save(session, "runs/model.ckpt", step)
ones = tf.ones([3])
mean, added = tf.metrics.mean(ones)
once = slim.evaluation.evaluate_once("", "runs/model.ckpt-1", "log", num_evals=2, eval_op=added, final_op=mean)
loop = slim.evaluation.evaluation_loop(
    "", "runs", "log", num_evals=2, eval_op=added, final_op=mean, max_number_of_evaluations=2, eval_interval_secs=0
)
print(once, *(result.value for result in loop))
"""
FUNCTION = """
import tensorflow

@tensorflow.function
def inside():
    return tf.metrics.mean(tf.ones([3]))

inside()
"""


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    (folder / "network.py").write_text(NETWORK)
    (folder / "script.py").write_text(script)
    (folder / "runs").mkdir()
    variables = {**os.environ, "PYTHONPATH": import_path(folder), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": ""}
    command = [sys.executable, "script.py"]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "head",
    [
        IMPORTS + NETWORK.replace("import tf_slim as slim", ""),
        IMPORTS + "from network import network",
        "from network import network" + IMPORTS,
        "import tensorflow.compat.v1 as tf\nfrom milepost.compat import slim\nfrom network import network",
        "from milepost.compat.slim import tf\nslim = tf.contrib.slim" + NETWORK.replace("import tf_slim as slim", ""),
    ],
    ids=["in the script", "in a file of its own", "imported first", "the second line alone", "under tf.contrib"],
)
def test_a_network_with_batch_norm_is_built(head: str, tmp_path: Path) -> None:
    done = run(tmp_path, head + IN_A_GRAPH)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[None, 3]\n"


def test_a_script_without_a_graph_of_its_own_runs_with_the_line_that_the_error_names(tmp_path: Path) -> None:
    head = IMPORTS + "from network import network\n"
    (tmp_path / "before").mkdir()
    refused = run(tmp_path / "before", IMPORTS + "tf.metrics.mean(tf.ones([3]))")
    line = "tf.disable_v2_behavior()"
    assert f"put the line `{line}` after the imports of the script" in refused.stderr
    (tmp_path / "after").mkdir()
    done = run(tmp_path / "after", head + line + LOOP)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1.0 1.0 1.0"


def test_a_metric_in_a_tf_function_is_to_be_called_outside(tmp_path: Path) -> None:
    done = run(tmp_path, IMPORTS + FUNCTION)
    assert "UsageError: mean builds operations of a TensorFlow 1 graph, and not inside a tf.function" in done.stderr
