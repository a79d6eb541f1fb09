"""The names and signatures of `tf.contrib.training`: `evaluate_once(checkpoint_path, ...)` with a scaffold and hooks.

`slim.evaluation` has another `evaluate_once`, as in TensorFlow 1.  What is for training is tf_slim's own, as it is.
"""

from collections.abc import Sequence
from typing import Any

from milepost.compat.slim._checkpoints import at
from milepost.compat.slim._engine import Fed, evaluated
from milepost.compat.slim._handed_on import original
from milepost.compat.slim.evaluation import (
    StopAfterNEvalsHook,
    SummaryAtEndHook,
    checkpoints_iterator,
    evaluate_repeatedly,
    get_or_create_eval_step,
    scaffolded,
    wait_for_new_checkpoint,
)

__all__ = [
    "StopAfterNEvalsHook",
    "SummaryAtEndHook",
    "checkpoints_iterator",
    "evaluate_once",
    "evaluate_repeatedly",
    "get_or_create_eval_step",
    "wait_for_new_checkpoint",
]


def evaluate_once(
    checkpoint_path: str,
    master: str = "",
    scaffold: Any = None,
    eval_ops: Any = None,
    feed_dict: Any = None,
    final_ops: Any = None,
    final_ops_feed_dict: Any = None,
    hooks: Sequence[Any] | None = None,
    config: Any = None,
) -> Any:
    """Evaluate one checkpoint on the default graph, and return what `final_ops` gives.

    `eval_ops` is run until a hook stops it (`StopAfterNEvalsHook`) or the data ends; without `final_ops` the scalars
    that a `SummaryAtEndHook` wrote are returned.  Of `scaffold` the same is taken as in `evaluate_repeatedly`, and the
    same errors are raised as in `slim.evaluation.evaluate_once`.
    """
    steps, final = Fed.of(eval_ops, feed_dict), Fed.of(final_ops, final_ops_feed_dict)
    return evaluated(at(checkpoint_path), scaffolded(scaffold, (master, config), steps, final, hooks)).value


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    return getattr(original("tf_slim.training.training"), name)
