"""The ancestors' metrics: right on any stream, the original's number on request, and in order within a step."""

import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as judge

import milepost.models.tf1  # noqa: F401 - first, since it keeps TensorFlow quiet
from milepost.compat import slim
from milepost.compat.slim import metrics, tf_metrics
from milepost.compat.slim._graph import functions
from milepost.errors import UsageError

import tensorflow.compat.v1 as tf  # isort: skip  # behind the adapter, which keeps it quiet
import tf_slim  # isort: skip

RNG = np.random.default_rng(7)
N, C = 90, 6
LABELS = RNG.integers(0, C, N)
GUESSES = np.where(RNG.random(N) < 0.6, LABELS, RNG.integers(0, C, N))
SCORES = np.round(RNG.standard_normal((N, C)), 1).astype(np.float32)
TRUTH = RNG.integers(0, 2, N)
FOUND = np.where(RNG.random(N) < 0.7, TRUTH, 1 - TRUTH)
WEIGHTS = np.where(np.arange(N) % 8 == 3, 0.0, np.round(RNG.random(N) * 3, 3) + 0.1)
VALUES = RNG.standard_normal(N) * 10.0 ** RNG.integers(-8, 8, N)

Feed = Mapping[str, np.ndarray]


@contextmanager
def graph() -> Iterator[Any]:
    with tf.Graph().as_default(), tf.Session() as session:
        yield session


def placeholders(arrays: Feed) -> dict[str, Any]:
    return {name: tf.placeholder(item.dtype, [None, *item.shape[1:]], name=name) for name, item in arrays.items()}


def streamed(session: Any, ops: Any, fed: Mapping[str, Any], arrays: Feed, size: int) -> Any:
    """Feed the arrays in batches, and return the last run of `ops`."""
    found = None
    for start in range(0, N, size):
        found = session.run(ops, {fed[name]: item[start : start + size] for name, item in arrays.items()})
    return found


BOTH: Feed = {"labels": LABELS, "predictions": GUESSES}
BINARY: Feed = {"labels": TRUTH, "predictions": FOUND}
RANKED: Feed = {"labels": LABELS, "predictions": SCORES}
W = WEIGHTS


def top(k: int, weights: Any) -> float:
    """Top-k with equal scores ranked by class, written down once more in the plainest way."""
    order = [sorted(range(C), key=lambda c: (-row[c], c)) for row in SCORES.tolist()]
    hits = np.array([label in ranked[:k] for label, ranked in zip(LABELS.tolist(), order, strict=True)])
    return float(np.average(hits, weights=weights))


def counted(label: int, guess: int) -> Any:
    return lambda w: float(((label == TRUTH) & (guess == FOUND)) @ (np.ones(N) if w is None else w))


CASES: list[tuple[str, Feed, dict[str, Any], Any]] = [
    ("mean", {"values": VALUES}, {}, lambda w: np.average(VALUES, weights=w)),
    ("accuracy", BOTH, {}, lambda w: judge.accuracy_score(LABELS, GUESSES, sample_weight=w)),
    ("precision", BINARY, {}, lambda w: judge.precision_score(TRUTH, FOUND, sample_weight=w)),
    ("recall", BINARY, {}, lambda w: judge.recall_score(TRUTH, FOUND, sample_weight=w)),
    ("true_positives", BINARY, {}, counted(1, 1)),
    ("false_positives", BINARY, {}, counted(0, 1)),
    ("true_negatives", BINARY, {}, counted(0, 0)),
    ("false_negatives", BINARY, {}, counted(1, 0)),
    (
        "mean_per_class_accuracy",
        BOTH,
        {"num_classes": C},
        lambda w: judge.balanced_accuracy_score(LABELS, GUESSES, sample_weight=w),
    ),
    ("recall_at_k", RANKED, {"k": 3}, lambda w: top(3, w)),
    ("streaming_recall_at_k", RANKED, {"k": 2}, lambda w: top(2, w)),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("name", "arrays", "parameters", "expected"), CASES, ids=[item[0] for item in CASES])
def test_each_name_is_right_on_a_stream(
    name: str, arrays: Feed, parameters: dict[str, Any], expected: Any, weighted: bool
) -> None:
    module = metrics if name.startswith("streaming") else tf_metrics
    given = {**arrays, "weights": W} if weighted else dict(arrays)
    with graph() as session:
        fed = placeholders(given)
        value, update = getattr(module, name)(**fed, **parameters)
        for size in (7, N):
            session.run(tf.local_variables_initializer())
            streamed(session, update, fed, given, size)
            assert session.run(value) == pytest.approx(expected(W if weighted else None), rel=1e-12), size


@pytest.mark.parametrize(("name", "arrays", "parameters", "expected"), CASES[:-1], ids=[item[0] for item in CASES[:-1]])
def test_ours_agrees_with_the_original_where_that_is_right_and_legacy_is_the_original(
    name: str, arrays: Feed, parameters: dict[str, Any], expected: Any
) -> None:
    given: Feed = {**arrays, "weights": WEIGHTS.astype(np.float32)}
    with graph() as session:
        fed = placeholders(given)
        pairs = [
            getattr(module, name)(**fed, **parameters, **more)
            for module, more in ((tf_metrics, {}), (tf_metrics, {"legacy": True}), (tf.metrics, {}))
        ]
        session.run(tf.local_variables_initializer())
        streamed(session, [update for _, update in pairs], fed, given, 11)
        own, legacy, original = session.run([value for value, _ in pairs])
        assert legacy == original
        assert legacy.dtype == original.dtype
        assert own == pytest.approx(original, rel=3e-6)
        # The twins differ from their namesakes in the order of arguments alone.
        twin = {"recall_at_k": "streaming_sparse_recall_at_k"}.get(name, f"streaming_{name}")
        if name != "mean_per_class_accuracy":
            again, update = getattr(metrics, twin)(*list(fed.values())[-2::-1], **parameters, weights=fed["weights"])
            session.run(tf.local_variables_initializer())
            streamed(session, update, fed, given, N)
            assert session.run(again) == own


@pytest.mark.parametrize("name", sorted({*functions(slim=False), *functions(slim=True)}))
def test_signatures_are_the_originals(name: str) -> None:
    for module, original in ((tf_metrics, tf.metrics), (metrics, tf_slim.metrics)):
        if name in functions(slim=module is metrics):
            mine = list(inspect.signature(getattr(module, name)).parameters.values())
            theirs = list(inspect.signature(getattr(original, name)).parameters.values())
            plain = [(item.name, item.default) for item in mine if item.kind is not item.KEYWORD_ONLY]
            assert plain == [(item.name, item.default) for item in theirs]


def test_a_value_fetched_with_its_update_comes_after_it_a_thousand_times() -> None:
    with graph() as session:
        label, guess = tf.placeholder(tf.int64, [None]), tf.placeholder(tf.int64, [None])
        pairs = [tf_metrics.accuracy(label, guess), tf_metrics.accuracy(label, guess, legacy=True)]
        summary = tf.summary.scalar("seen", pairs[0][0])
        grouped = tf.group(*(update for _, update in pairs))
        session.run(tf.local_variables_initializer())
        right = 0
        for number in range(1, 1001):
            right += number % 3 == 0
            fed = {label: [1], guess: [int(number % 3 == 0)]}
            values = [value for value, _ in pairs]
            if number % 2:
                own, legacy, text, *updates = session.run([*values, summary, pairs[0][1], pairs[1][1]], fed)
                assert updates == [own, legacy]
            else:
                own, legacy, text, _ = session.run([*values, summary, grouped], fed)
            assert own == right / number
            assert legacy == np.float32(right) / np.float32(number)
            assert tf.Summary.FromString(text).value[0].simple_value == np.float32(own)
            if number % 100 == 0:
                assert session.run(pairs[0][0]) == own, "a look alone changes nothing"


def test_updates_from_many_threads_are_all_counted_and_no_look_is_torn() -> None:
    with graph() as session:
        values = tf.placeholder(tf.float32, [None])
        value, update = tf_metrics.mean(values)
        session.run(tf.local_variables_initializer())

        def feed() -> None:
            for _ in range(100):
                session.run(update, {values: [0.25, 0.75]})

        threads = [threading.Thread(target=feed) for _ in range(4)]
        for thread in threads:
            thread.start()
        seen = {session.run(value) for _ in range(100)} - {0.5}
        for thread in threads:
            thread.join()
        assert all(np.isnan(found) for found in seen), "only before the first batch is there another value"
        (state,) = tf.get_collection(tf.GraphKeys.METRIC_VARIABLES)
        assert session.run(state)[0] == 800


def test_state_is_int64_local_and_reset_by_the_initializer() -> None:
    with graph() as session:
        values = tf.placeholder(tf.float64, [None])
        value, update = tf_metrics.mean(values, name="loss", metrics_collections=["m"], updates_collections="u")
        (state,) = tf.local_variables()
        assert state.dtype.base_dtype == tf.int64
        assert tf.local_variables(scope="loss") == tf.get_collection(tf.GraphKeys.METRIC_VARIABLES) == [state]
        assert (tf.get_collection("m"), tf.get_collection("u")) == ([value], [update])
        session.run(tf.local_variables_initializer())
        assert np.isnan(session.run(value)), "of nothing there is no mean"
        assert session.run(update, {values: [1e16, 1.0, -1e16]}) == 1 / 3, "sums are exact"
        session.run(tf.local_variables_initializer())
        assert session.run([value, update], {values: [0.1] * 10}) == [0.1, 0.1]


def test_forty_million_examples_one_by_one_count_right_and_the_original_does_not() -> None:
    with graph() as session:
        label, guess = tf.placeholder(tf.int64, [None]), tf.placeholder(tf.int64, [None])
        (value, update), (legacy, old), (original, older) = (
            tf_metrics.accuracy(label, guess),
            tf_metrics.accuracy(label, guess, legacy=True),
            tf.metrics.accuracy(label, guess),
        )
        mean, more = tf_metrics.mean(tf.cast(tf.equal(label, guess), tf.float32), tf.fill(tf.shape(label), 0.1))
        session.run(tf.local_variables_initializer())
        for right in [1] * 7 + [0] * 3:
            session.run([update, more], {label: [1], guess: [right]})
        # Doubled, not looped: 10 * 2**22 is beyond forty million.
        states = tf.get_collection(tf.GraphKeys.METRIC_VARIABLES)
        exact = [state for state in states if state.dtype.base_dtype == tf.int64]
        for state in exact:
            state.load(session.run(state) * 2**22, session)
        assert session.run(value) == 0.7
        assert session.run(mean) == pytest.approx(0.7, rel=1e-15)
        session.run([update, more], {label: [1], guess: [0]})
        count = 10 * 2**22
        assert session.run(value) == 7 * 2**22 / (count + 1)
        # The original from where it no longer counts single examples.
        for state in states:
            if state not in exact:
                state.load(2.0**24, session)
        for _ in range(50):
            found = session.run([old, legacy, older], {label: [1], guess: [0]})
        assert found == [1.0, 1.0, 1.0]
        assert session.run([legacy, original]) == [1.0, 1.0]


def one(build: Any, *arrays: Any, module: Any = tf_metrics, legacy: bool = False) -> float:
    with graph() as session:
        value, update = build(module, *(tf.constant(item) for item in arrays), **({"legacy": True} if legacy else {}))
        session.run(tf.local_variables_initializer())
        session.run(update)
        return float(session.run(value))


def test_where_the_original_is_wrong_ours_is_right() -> None:
    flat = np.zeros((40, 10), np.float32), np.arange(40) % 10

    def in_top(module: Any, *given: Any, **more: Any) -> Any:
        return module.streaming_recall_at_k(*given, 5, **more)

    assert one(in_top, *flat, module=metrics) == 0.5
    assert one(in_top, *flat, module=metrics, legacy=True) == 1.0
    nan = np.full((4, 10), np.nan, np.float32)
    assert one(in_top, nan, np.arange(4), module=metrics) == 0.0
    # Probabilities: cut off to integers, or taken for "true" unless they are 0.
    truth = np.array([0, 0, 0, 1, 1])
    chances = np.array([0.1, 0.2, 0.3, 0.9, 0.8], np.float32)
    assert one(lambda m, *a, **k: m.accuracy(*a, **k), truth, chances) == 1.0
    assert one(lambda m, *a, **k: m.accuracy(*a, **k), truth, chances, legacy=True) == pytest.approx(0.6)
    assert one(lambda m, *a, **k: m.precision(*a, **k), truth, chances) == 1.0
    assert one(lambda m, *a, **k: m.precision(*a, **k), truth, chances, legacy=True) == pytest.approx(0.4)
    assert one(lambda m, *a, **k: m.precision(*a, threshold=0.85, **k), truth, chances) == 1.0
    assert one(lambda m, *a, **k: m.recall(*a, threshold=0.85, **k), truth, chances) == 0.5
    # Classes that are not there count as 0 in the original.
    three = np.array([0, 1, 2])
    assert one(lambda m, *a, **k: m.mean_per_class_accuracy(*a, 10, **k), three, three) == 1.0
    assert one(lambda m, *a, **k: m.mean_per_class_accuracy(*a, 10, **k), three, three, legacy=True) == pytest.approx(
        0.3
    )
    # NaN under weight 0.
    holes, weights = np.array([1.0, np.nan]), np.array([1.0, 0.0])
    assert one(lambda m, *a, **k: m.mean(*a, **k), holes, weights) == 1.0
    assert np.isnan(one(lambda m, *a, **k: m.mean(*a, **k), holes, weights, legacy=True))
    assert np.isnan(one(lambda m, *a, **k: m.precision(*a, **k), np.array([1, 0]), np.array([0, 0])))
    assert one(lambda m, *a, **k: m.mean(*a, **k), np.array([2**60 + 1, -(2**60)])) == 0.5


def test_sets_of_labels_shapes_and_infinities() -> None:
    labels = np.array([[0, 1], [2, 2], [-1, 7]])
    scores = np.array([[3.0, 1, 2], [1, 2, 3], [1, 2, 3]])

    def recall(module: Any, *given: Any, **more: Any) -> Any:
        return module.recall_at_k(*given, 2, **more)

    assert one(recall, labels, scores) == one(recall, labels, scores, legacy=True) == 2 / 5
    only = one(lambda m, *a, **k: m.recall_at_k(*a, 1, class_id=2, **k), labels, scores)
    assert only == one(lambda m, *a, **k: m.recall_at_k(*a, 1, class_id=2, **k), labels, scores, legacy=True) == 1.0
    with graph() as session:
        sparse = tf.sparse.from_dense(tf.constant([[1, 2], [3, 0]], tf.int64))
        value, update = tf_metrics.recall_at_k(sparse, tf.constant([[0.0, 9, 1, 2]] * 2), 1)
        session.run(tf.local_variables_initializer())
        assert session.run([value, update])[0] == 1 / 3
        classes, per_class = tf_metrics.mean_per_class_accuracy(tf.constant([0, 0, 2]), tf.constant([0, 1, 2]), 3)
        session.run(tf.local_variables_initializer())
        assert session.run(per_class).tolist() == pytest.approx([0.5, np.nan, 1.0], nan_ok=True)
        assert session.run(classes) == 0.75
    column = np.array([[1], [0], [1]])
    assert one(lambda m, *a, **k: m.accuracy(*a, **k), column, np.array([1, 1, 1]), np.array([1.0, 2, 1])) == 0.5
    assert one(lambda m, *a, **k: m.mean(*a, **k), np.ones((2, 3)), np.array([[1.0], [0.5]])) == 1.0
    assert one(lambda m, *a, **k: m.mean(*a, **k), np.array([np.inf, 1.0])) == np.inf
    assert one(lambda m, *a, **k: m.mean(*a, **k), np.array([1.1, 2.2]), np.array([0.3, 0.7])) == pytest.approx(1.87)
    assert one(lambda m, *a, **k: m.accuracy(*a, **k), np.array([b"a", b"b"]), np.array([b"a", b"c"])) == 0.5


@pytest.mark.parametrize(
    ("build", "arrays", "words"),
    [
        (
            lambda m, *a: m.accuracy(*a),
            (np.array([2, 1]), np.array([1.5, 1.0])),
            "1.5 is no class, and beside the label 2",
        ),
        (lambda m, *a: m.precision(*a), (np.array([1, 0]), np.array([2.5, -1.0])), "for logits say tf.greater"),
        (lambda m, *a: m.recall(*a), (np.array([1, 7]), np.array([1, 0])), "expected 0, 1, True or False; found 7"),
        (lambda m, *a: m.mean(*a), (np.ones(2), np.array([1.0, -1.0])), "expected finite numbers >= 0; found -1.0"),
        (lambda m, *a: m.mean(*a), (np.ones(3), np.ones(2)), "expected a scalar, the same, or 1s"),
        (lambda m, *a: m.mean_per_class_accuracy(*a, 3), (np.array([3]), np.array([0])), "none of the 3 classes"),
        (lambda m, *a: m.accuracy(*a), (np.array([1, 2, 3]), np.array([1])), "expected one shape"),
    ],
)
def test_a_batch_that_makes_no_sense_is_an_invalid_argument(build: Any, arrays: Any, words: str) -> None:
    with graph() as session:
        fed = [tf.placeholder(item.dtype, None) for item in arrays]
        _, update = build(tf_metrics, *fed)
        session.run(tf.local_variables_initializer())
        with pytest.raises(tf.errors.InvalidArgumentError, match=words):
            session.run(update, dict(zip(fed, arrays, strict=True)))


def test_what_is_no_graph_and_what_is_not_ours() -> None:
    with pytest.raises(UsageError, match=r"under `with tf\.Graph\(\)\.as_default\(\)`"):
        tf_metrics.accuracy(tf.constant([1]), tf.constant([1]))
    with pytest.warns(UserWarning, match=r"auc is tensorflow\.compat\.v1\.metrics's own, not Milepost's"):
        assert tf_metrics.auc is tf.metrics.auc
    with pytest.raises(AttributeError, match="no attribute 'acuracy'"):
        _ = tf_metrics.acuracy
    assert slim.tf.metrics is tf_metrics
    assert slim.tf.placeholder is tf.placeholder
    assert slim.conv2d is tf_slim.conv2d
    assert slim.aggregate_metric_map({}) == ({}, {})
    assert {"accuracy", "recall_at_k"} <= set(dir(tf_metrics))
