"""The names, signatures and argument orders of `tf_slim.evaluation`: every checkpoint, restored whole or not at all."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from milepost.compat._arrivals import Arrivals
from milepost.compat.slim._checkpoints import arriving, at, following, listed, prefix_of
from milepost.compat.slim._engine import Asked, Fed, attempted, evaluated
from milepost.compat.slim._hooks import StopAfterNEvalsHook, SummaryAtEndHook, get_or_create_eval_step
from milepost.compat.slim._results import Result, record
from milepost.errors import MissingExtra, Torn

try:
    import tensorflow.compat.v1 as tf
except ModuleNotFoundError as error:
    raise MissingExtra("tensorflow", "tf") from error

__all__ = [
    "Result",
    "StopAfterNEvalsHook",
    "SummaryAtEndHook",
    "checkpoints_iterator",
    "evaluate_once",
    "evaluate_repeatedly",
    "evaluation_loop",
    "get_or_create_eval_step",
    "wait_for_new_checkpoint",
]

_DEFAULT = object()


def evaluate_once(
    master: str,
    checkpoint_path: str,
    logdir: str | None,
    num_evals: int | None = 1,
    initial_op: Any = None,
    initial_op_feed_dict: Any = None,
    eval_op: Any = None,
    eval_op_feed_dict: Any = None,
    final_op: Any = None,
    final_op_feed_dict: Any = None,
    summary_op: Any = _DEFAULT,
    summary_op_feed_dict: Any = None,
    variables_to_restore: Any = None,
    session_config: Any = None,
    hooks: Sequence[Any] | None = None,
) -> Any:
    """Evaluate one checkpoint on the default graph, and return what `final_op` gives.

    `eval_op` (a tensor, a list, a dict or its values) is run `num_evals` times (None: to the end of the data).
    `summary_op` (default: all summaries) is written to the event file in `logdir` at the checkpoint's step, and the
    result is appended to `milepost-results.jsonl` there; without a `final_op` the summary's scalars are the result.
    `variables_to_restore` is a list of variables, or a mapping from checkpoint names to variables; default: all global
    ones, none of them missing and no weights left over.

    Warns where `num_evals` takes more rows than the data has before it begins again, so that some count twice.  Raises
    `UsageError` for no checkpoint and `Vanished` for one that is not there (both a `ValueError` too), and the
    checkpoint's own error (`Torn`, `Corrupt`, `Mismatch`, ...).
    """
    asked = Asked(
        (master, session_config),
        initial=Fed.of(initial_op, initial_op_feed_dict),
        steps=Fed.of(eval_op, eval_op_feed_dict),
        final=Fed.of(final_op, final_op_feed_dict),
        hooks=_hooks(num_evals, logdir, summary_op, summary_op_feed_dict, hooks),
        to_restore=variables_to_restore,
    )
    result = evaluated(at(checkpoint_path), asked)
    record(logdir, result)
    return result.value


def evaluation_loop(
    master: str,
    checkpoint_dir: str,
    logdir: str | None,
    num_evals: int | None = 1,
    initial_op: Any = None,
    initial_op_feed_dict: Any = None,
    init_fn: Callable[[Any], object] | None = None,
    eval_op: Any = None,
    eval_op_feed_dict: Any = None,
    final_op: Any = None,
    final_op_feed_dict: Any = None,
    summary_op: Any = _DEFAULT,
    summary_op_feed_dict: Any = None,
    variables_to_restore: Any = None,
    eval_interval_secs: float = 60,
    max_number_of_evaluations: int | None = None,
    session_config: Any = None,
    timeout: float | None = None,
    timeout_fn: Callable[[], object] | None = None,
    hooks: Sequence[Any] | None = None,
    *,
    latest_only: bool = False,
) -> list[Result]:
    """Evaluate every checkpoint of a folder as it appears, and return the results of all, in the order evaluated.

    The original returns the last one's `final_op` value: here that is `results[-1].value`.  A checkpoint that is
    damaged, or does not fit the graph, is a result with `failure`, and the loop goes on.  One that is still being
    written is tried again at the next look, and is a failure at the end.  Failures count towards
    `max_number_of_evaluations`; where more lie there at the first look, the last ones are taken.  The folder is looked
    at every `eval_interval_secs` or later; all that a look finds is evaluated at once.  All else is as in
    `evaluate_once` and `checkpoints_iterator`.
    """
    asked = Asked(
        (master, session_config),
        initial=Fed.of(initial_op, initial_op_feed_dict),
        init_fn=init_fn,
        steps=Fed.of(eval_op, eval_op_feed_dict),
        final=Fed.of(final_op, final_op_feed_dict),
        hooks=_hooks(num_evals, logdir, summary_op, summary_op_feed_dict, hooks),
        to_restore=variables_to_restore,
    )
    looks = (eval_interval_secs, timeout, timeout_fn)
    return _each(checkpoint_dir, looks, asked, logdir, max_number_of_evaluations, latest_only=latest_only)


def evaluate_repeatedly(
    checkpoint_dir: str,
    master: str = "",
    scaffold: Any = None,
    eval_ops: Any = None,
    feed_dict: Any = None,
    final_ops: Any = None,
    final_ops_feed_dict: Any = None,
    eval_interval_secs: float = 60,
    hooks: Sequence[Any] | None = None,
    config: Any = None,
    max_number_of_evaluations: int | None = None,
    timeout: float | None = None,
    timeout_fn: Callable[[], object] | None = None,
    *,
    latest_only: bool = False,
) -> list[Result]:
    """Evaluate every checkpoint of a folder as it appears; hooks end each evaluation (`StopAfterNEvalsHook`).

    Of `scaffold` are taken: `init_op`, `init_feed_dict`, `init_fn`, `local_init_op`, and the variables of its `saver`.
    Returns the results of all; see `evaluation_loop`.  The caller's hooks and operations stay as they are.
    """
    asked = scaffolded(
        scaffold, (master, config), Fed.of(eval_ops, feed_dict), Fed.of(final_ops, final_ops_feed_dict), hooks
    )
    looks = (eval_interval_secs, timeout, timeout_fn)
    return _each(checkpoint_dir, looks, asked, None, max_number_of_evaluations, latest_only=latest_only)


def scaffolded(scaffold: Any, session: tuple[str, Any], steps: Fed, final: Fed, hooks: Sequence[Any] | None) -> Asked:
    """Return what to run where a `tf.train.Scaffold` (or None) says how the session begins."""
    given = tf.train.Scaffold() if scaffold is None else scaffold
    return Asked(
        session,
        initial=Fed.of(given.init_op, given.init_feed_dict),
        init_fn=given.init_fn,
        local_init_op=given.local_init_op,
        steps=steps,
        final=final,
        hooks=tuple(hooks or ()),
        to_restore=None if given.saver is None else given.saver._var_list,  # noqa: SLF001 - it has no public name
    )


def _each(
    folder: str, looks: tuple[Any, ...], asked: Asked, logdir: str | None, most: int | None, *, latest_only: bool
) -> list[Result]:
    arrivals = Arrivals(folder, listed)
    if most is not None:
        arrivals.pass_over(most)
    results: list[Result] = []
    unfinished: dict[str, Result] = {}
    for found in arriving(arrivals, *looks, latest_only=latest_only):
        result = attempted(found, asked)
        unfinished.pop(result.checkpoint, None)
        if result.failure is not None and result.failure.kind == Torn.kind:
            # It may be whole at the next look; what never is becomes a result at the end.
            unfinished[result.checkpoint] = result
            arrivals.later(found)
            continue
        results.append(result)
        record(logdir, result)
        if most is not None and len(results) >= most:
            return results
    for result in unfinished.values():
        record(logdir, result)
    return results + list(unfinished.values())


def _hooks(
    num_evals: int | None, logdir: str | None, summary_op: Any, summary_feed: Any, more: Sequence[Any] | None
) -> tuple[Any, ...]:
    found: list[Any] = [StopAfterNEvalsHook(num_evals)]
    op = tf.summary.merge_all() if summary_op is _DEFAULT else summary_op
    if op is not None:
        found.append(SummaryAtEndHook(log_dir=logdir or "", summary_op=op, feed_dict=summary_feed))
    return (*found, *(more or ()))


def checkpoints_iterator(
    checkpoint_dir: str,
    min_interval_secs: float = 0,
    timeout: float | None = None,
    timeout_fn: Callable[[], object] | None = None,
    *,
    latest_only: bool = False,
) -> Iterator[str]:
    """Yield the address (prefix) of every checkpoint of a folder as it appears, each once, those there by step.

    All that a look at the folder finds is yielded; looks are `min_interval_secs` or more apart.  Where nothing comes
    for `timeout` seconds, it ends if there is no `timeout_fn`, or `timeout_fn()` is true, after one more look.  A file
    that is rewritten under its name comes again; one that is damaged from the outset is logged and passed over.
    `latest_only=True` yields the newest of each look, and passes over those before it, as the original does.
    """
    for found in arriving(
        Arrivals(checkpoint_dir, listed), min_interval_secs, timeout, timeout_fn, latest_only=latest_only
    ):
        if found.state == "complete":
            yield prefix_of(found)
        else:
            tf.logging.warning("%s is passed over: %s", prefix_of(found), found.failure and found.failure[1])


def wait_for_new_checkpoint(
    checkpoint_dir: str,
    last_checkpoint: str | None = None,
    seconds_to_sleep: float = 1,
    timeout: float | None = None,
    *,
    latest_only: bool = False,
) -> str | None:
    """Return the address of the next checkpoint after `last_checkpoint` by step (None: the newest), once it is there.

    None where none came within `timeout` seconds.  `latest_only=True` returns the newest, if it is another.
    """
    begun = time.monotonic()
    while True:
        found = following(checkpoint_dir, last_checkpoint, latest_only=latest_only)
        left = None if timeout is None else begun + timeout - time.monotonic()
        if found is not None or (left is not None and left <= 0):
            return found
        time.sleep(seconds_to_sleep if left is None else min(seconds_to_sleep, left))
