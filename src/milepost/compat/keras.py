"""A Keras callback that ends training by what Milepost measured beside it, and the sidecar that Keras 3 has not.

Keras is not imported until a sidecar is started: the hooks of a callback are asked for by name, and what is not here is
answered by doing nothing.  The calls are those of Keras 2 (`tf.keras`, `tf_keras`) and Keras 3.
"""

from collections.abc import Callable
from typing import Any

from milepost.compat.keras_sidecar import SidecarEvaluator, SidecarResult
from milepost.signals import Signals, StopWhen

__all__ = ["SidecarEvaluator", "SidecarResult", "StopTraining"]


class StopTraining:
    """Sets `model.stop_training` at the end of an epoch once `Signals.should_stop` says so; training never waits.

    `step` turns the model into the step that its checkpoints bear, so that those of before a restart do not count: for
    example `lambda model: int(model.optimizer.iterations)`.  It is given to `model.fit(..., callbacks=[...])`.

    >>> callback = StopTraining(Signals("/no/such/store", "lenet", "top1"), patience=3)
    >>> callback.on_epoch_end(0)
    >>> callback.stopped_epoch is None
    True
    """

    def __init__(
        self, signals: Signals, patience: int, min_delta: float = 0.0, step: Callable[[Any], int] | None = None
    ) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}
        self.stopped_epoch: int | None = None
        self._stop = StopWhen(signals, patience, min_delta)
        self._step = step

    @property
    def reason(self) -> str:
        """Why training was, or was not, ended."""
        return self._stop.reason

    def set_params(self, params: dict[str, Any]) -> None:
        """Keep what Keras tells."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Keep the model that is trained."""
        self.model = model

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        """Ask, and end training if it is of no use any more."""
        step = None if self._step is None or self.model is None else self._step(self.model)
        if self._stop(step) and self.model is not None:
            self.model.stop_training = True
            self.stopped_epoch = epoch

    def __getattr__(self, name: str) -> Any:
        """Answer every other hook, and Keras 2's question whether there is one, by doing nothing."""
        if name.startswith(("on_", "_implements_")):
            return _nothing
        raise AttributeError(name)


def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing, as the hooks of Keras' own base class do."""


vars(_nothing)["_is_default"] = True  # Keras 3 sends batches ahead only where no hook is anybody's own
