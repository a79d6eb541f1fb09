"""How a Keras model predicts with weights that are handed to it: on each back end of Keras 3, and in Keras 2.

Keras 3: `stateless_call`, compiled with the weights as arguments where that pays (measured for a model of 152
variables: eager TensorFlow 135 ms a batch, its function 43 ms).  Keras 2 has no such call: there a function is traced
once, and the variables that it captured are exchanged for those of the checkpoint, which copies nothing.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from milepost.core.types import Array, Json

Call = Callable[..., Any]


class Runner(Protocol):
    """Places values on a device and predicts with them."""

    def place(self, arrays: Sequence[Array]) -> list[Any]:
        """Return values for the model's required variables, in memory of their own."""

    def run(self, values: list[Any], inputs: Any) -> Any:
        """Return the outputs."""

    def release(self) -> None:
        """Let go of the last weights."""

    def environment(self) -> dict[str, Json]:
        """Return what of the back end bears on the last digits."""


class Stateless:
    """Keras 3, by `stateless_call`; states of random generators go on from call to call, as in Keras' own predict."""

    def __init__(self, keras: Any, model: Any, required: Sequence[Any], device: str) -> None:
        self._keras = keras
        self._model = model
        self._device = device
        self._backend = str(keras.backend.backend())
        self._order = [*model.trainable_variables, *model.non_trainable_variables]
        self._split = len(model.trainable_variables)
        self._required = required
        places = {id(item): place for place, item in enumerate(required)}
        self._places = [places.get(id(item)) for item in self._order]
        self._states = [item.value for item, place in zip(self._order, self._places, strict=True) if place is None]
        self._call = _COMPILE.get(self._backend, _as_it_is)(self._predicted)

    def place(self, arrays: Sequence[Array]) -> list[Any]:
        with self._keras.device(self._device):
            convert = self._keras.ops.convert_to_tensor
            return [convert(array, dtype=item.dtype) for array, item in zip(arrays, self._required, strict=True)]

    def run(self, values: list[Any], inputs: Any) -> Any:
        with self._keras.device(self._device):
            outputs, self._states = self._call(values, self._states, inputs)
        return _host(outputs) if self._backend == "tensorflow" else outputs

    def release(self) -> None:
        """Do nothing: the weights were arguments."""

    def environment(self) -> dict[str, Json]:
        return {"backend": self._backend, **_ENVIRONMENT.get(self._backend, dict)()}

    def _predicted(self, values: list[Any], states: list[Any], inputs: Any) -> Any:
        others = iter(states)
        every = [next(others) if place is None else values[place] for place in self._places]
        keywords = {"training": False} if self._model._call_has_training_arg else {}  # noqa: SLF001 - as Keras' own trainer
        outputs, after = self._model.stateless_call(every[: self._split], every[self._split :], inputs, **keywords)
        now = {id(item): value for item, value in zip(self._model.non_trainable_variables, after, strict=True)}
        return outputs, [now.get(id(item), before) for item, before in zip(self._unrequired(), states, strict=True)]

    def _unrequired(self) -> list[Any]:
        return [item for item, place in zip(self._order, self._places, strict=True) if place is None]


class Captured:
    """Keras 2 on TensorFlow: one traced function, the variables that it reads exchanged."""

    def __init__(self, model: Any, required: Sequence[Any], device: str) -> None:
        import tensorflow as tf  # noqa: PLC0415 - only where a model of Keras 2 is evaluated

        self._tf = tf
        self._device = device
        self._required = required
        self._function = tf.function(lambda inputs: model(inputs, training=False))
        self._traced: dict[Any, tuple[Any, list[Any]]] = {}

    def place(self, arrays: Sequence[Array]) -> list[Any]:
        with self._tf.device(self._device):
            pairs = zip(arrays, self._required, strict=True)
            return [self._tf.Variable(array, dtype=item.dtype, trainable=False) for array, item in pairs]

    def run(self, values: list[Any], inputs: Any) -> Any:
        with self._tf.device(self._device):
            given = self._tf.nest.map_structure(self._tf.convert_to_tensor, inputs)
            function, captured = self._concrete(given)
            handles = {id(item.handle): value.handle for item, value in zip(self._required, values, strict=True)}
            function.set_external_captures([handles.get(id(item), item) for item in captured])
            return _host(function(*self._tf.nest.flatten(given)))

    def release(self) -> None:
        for function, captured in self._traced.values():
            function.set_external_captures(captured)

    def environment(self) -> dict[str, Json]:
        return {"backend": "tensorflow", **_tensorflow()}

    def _concrete(self, given: Any) -> tuple[Any, list[Any]]:
        """Return the function for inputs of this form, any number of rows, and what it captured by itself."""
        tf = self._tf
        specs = tf.nest.map_structure(lambda item: tf.TensorSpec([None, *item.shape[1:]], item.dtype), given)
        key = tuple((tuple(item.shape[1:]), item.dtype.name) for item in tf.nest.flatten(given))
        names = tuple(given) if isinstance(given, Mapping) else type(given).__name__
        if (key, names) not in self._traced:
            function = self._function.get_concrete_function(specs)
            self._traced[key, names] = function, list(function.captured_inputs)
        return self._traced[key, names]


def _host(outputs: Any) -> Any:
    """Return TensorFlow's outputs as NumPy arrays, in the structure that they have."""
    if isinstance(outputs, Mapping):
        return {name: _host(item) for name, item in outputs.items()}
    if isinstance(outputs, list | tuple):
        return [_host(item) for item in outputs]
    return np.asarray(outputs)


def _as_it_is(call: Call) -> Call:
    return call


def _traced_by_tensorflow(call: Call) -> Call:
    import tensorflow as tf  # noqa: PLC0415 - the back end that Keras runs on

    made: Call = tf.function(call, reduce_retracing=True)
    return made


def _compiled_by_jax(call: Call) -> Call:
    import jax  # noqa: PLC0415 - the back end that Keras runs on

    compiled = jax.jit(call)
    wait: Call = jax.block_until_ready
    # Waiting, because the batch's memory may be another's as soon as the call is back.
    return lambda *given: wait(compiled(*given))


def _without_gradients(call: Call) -> Call:
    import torch  # noqa: PLC0415 - the back end that Keras runs on

    def quiet(*given: Any) -> Any:
        with torch.no_grad():
            return call(*given)

    return quiet


def _tensorflow() -> dict[str, Json]:
    import tensorflow as tf  # noqa: PLC0415 - the back end that Keras runs on

    asked = tf.config.threading.get_intra_op_parallelism_threads()
    return {"backend_version": str(tf.__version__), "threads": asked or os.cpu_count()}


def _jax() -> dict[str, Json]:
    import jax  # noqa: PLC0415 - the back end that Keras runs on

    return {"backend_version": str(jax.__version__)}


def _torch() -> dict[str, Json]:
    import torch  # noqa: PLC0415 - the back end that Keras runs on

    return {"backend_version": str(torch.__version__), "threads": torch.get_num_threads()}


_COMPILE: dict[str, Callable[[Call], Call]] = {
    "tensorflow": _traced_by_tensorflow,
    "jax": _compiled_by_jax,
    "torch": _without_gradients,
}
_ENVIRONMENT: dict[str, Callable[[], dict[str, Json]]] = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
