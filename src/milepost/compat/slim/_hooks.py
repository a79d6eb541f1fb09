"""The hooks that Slim's users hand in, under their old names and signatures."""

from typing import Any

import tensorflow.compat.v1 as tf

from milepost.compat.slim._errors import InvalidValue

_SHOWN = 20


def get_or_create_eval_step() -> Any:
    """Return the graph's counter of evaluation steps: an int64 local variable in the collection EVAL_STEP."""
    found = tf.get_collection(tf.GraphKeys.EVAL_STEP)
    if len(found) > 1:
        raise InvalidValue(f"the collection EVAL_STEP holds {len(found)} variables; expected one")
    if found:
        return found[0]
    return tf.get_variable(
        "eval_step",
        shape=[],
        dtype=tf.int64,
        initializer=tf.zeros_initializer(),
        trainable=False,
        collections=[tf.GraphKeys.LOCAL_VARIABLES, tf.GraphKeys.EVAL_STEP],
    )


class StopAfterNEvalsHook(tf.train.SessionRunHook):  # type: ignore[misc]  # TensorFlow has no types
    """Ends an evaluation after `num_evals` steps (None: at the end of the data), and logs how far it is."""

    def __init__(self, num_evals: int | None, log_progress: bool = True) -> None:
        self._num_evals = num_evals
        self._evals_completed: Any = None
        self._log_progress = log_progress
        self._every = 1 if num_evals is None or num_evals < _SHOWN else num_evals // 10

    def _set_evals_completed_tensor(self, updated_eval_step: Any) -> None:
        self._evals_completed = updated_eval_step

    def before_run(self, run_context: Any) -> Any:  # noqa: ARG002 - the hook's signature
        return tf.train.SessionRunArgs({"evals_completed": self._evals_completed})

    def after_run(self, run_context: Any, run_values: Any) -> None:
        done = run_values.results["evals_completed"]
        last = self._num_evals is not None and done >= self._num_evals
        if self._log_progress and (last or done % self._every == 0):
            tf.logging.info("Evaluation [%d]", done) if self._num_evals is None else tf.logging.info(
                "Evaluation [%d/%d]", done, self._num_evals
            )
        if last:
            run_context.request_stop()


class SummaryAtEndHook(tf.train.SessionRunHook):  # type: ignore[misc]  # TensorFlow has no types
    """Writes a summary to the event file when an evaluation ends, at the checkpoint's step.

    The original makes a variable `global_step` where the graph has none, which no checkpoint then holds; here the step
    is the graph's, else the one that the checkpoint tells (`checkpoint_step`, set by the evaluation).  `scalars` are
    those of the last summary by tag, which is not written where `log_dir` is "".
    """

    def __init__(
        self, log_dir: str | None = None, summary_writer: Any = None, summary_op: Any = None, feed_dict: Any = None
    ) -> None:
        if log_dir is None and summary_writer is None:
            raise InvalidValue("SummaryAtEndHook needs log_dir or summary_writer; found neither")
        self.checkpoint_step: int | None = None
        self.scalars: dict[str, float] = {}
        self._summary_op = summary_op
        self._feed_dict = feed_dict
        self._writer = summary_writer
        self._log_dir = log_dir
        self._global_step: Any = None

    def begin(self) -> None:
        if self._summary_op is None:
            self._summary_op = tf.summary.merge_all()
        self._global_step = tf.train.get_global_step()

    def after_create_session(self, session: Any, coord: Any) -> None:  # noqa: ARG002 - the hook's signature
        if self._writer is None and self._log_dir:
            self._writer = tf.summary.FileWriterCache.get(self._log_dir)

    def end(self, session: Any) -> None:
        if self._summary_op is not None:
            text = session.run(self._summary_op, self._feed_dict)
            step = self.checkpoint_step
            if step is None and self._global_step is not None:
                step = session.run(self._global_step)
            values = tf.Summary.FromString(text).value
            self.scalars = {item.tag: item.simple_value for item in values if item.HasField("simple_value")}
            if self._writer is not None:
                self._writer.add_summary(text, 0 if step is None else step)
        if self._writer is not None:
            self._writer.flush()
