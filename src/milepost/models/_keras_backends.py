"""How a Keras model predicts with weights that are handed to it: on each back end of Keras 3, and in Keras 2.

Keras 3: `stateless_call`, compiled with the weights as arguments where that pays (measured for a model of 152
variables: eager TensorFlow 135 ms a batch, its function 43 ms).  Keras 2 has no such call: there a function is traced
once, and the variables that it captured are exchanged for those of the checkpoint, which copies nothing.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from milepost.core.types import Array, Json

Call = Callable[..., Any]


class Stateless:
    """Keras 3, by `stateless_call`; states of random generators go on from call to call, as in Keras' own predict."""

    def __init__(self, keras: Any, model: Any, required: Sequence[Any], device: str) -> None:
        self._keras = keras
        self._model = model
        self._device = device
        self._backend = str(keras.backend.backend())
        order = [*model.trainable_variables, *model.non_trainable_variables]
        self._split = len(model.trainable_variables)
        self._required = required
        places = {id(item): place for place, item in enumerate(required)}
        self._places = [places.get(id(item)) for item in order]
        self._unrequired = [item for item, place in zip(order, self._places, strict=True) if place is None]
        self._states = [item.value for item in self._unrequired]
        self._call = _compiled(self._backend, self._predicted)

    def place(self, arrays: Sequence[Array]) -> list[Any]:
        """Return values for the model's required variables, in memory of their own."""
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
        return _environment(self._backend)

    def _predicted(self, values: list[Any], states: list[Any], inputs: Any) -> Any:
        others = iter(states)
        every = [next(others) if place is None else values[place] for place in self._places]
        keywords = {"training": False} if self._model._call_has_training_arg else {}  # noqa: SLF001 - as Keras' own trainer
        outputs, after = self._model.stateless_call(every[: self._split], every[self._split :], inputs, **keywords)
        now = {id(item): value for item, value in zip(self._model.non_trainable_variables, after, strict=True)}
        return outputs, [now.get(id(item), before) for item, before in zip(self._unrequired, states, strict=True)]


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
        return _environment("tensorflow")

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


def _framework(backend: str) -> Any:
    """Return the back end that Keras has imported to run on; None for one that needs nothing of ours."""
    return sys.modules[backend] if backend in ("tensorflow", "jax", "torch") else None


def _compiled(backend: str, call: Call) -> Call:
    framework = _framework(backend)
    if backend == "tensorflow":
        return cast(Call, framework.function(call, reduce_retracing=True))
    if backend == "jax":
        compiled = framework.jit(call)
        # Waiting, because the batch's memory may be another's as soon as the call is back.
        return lambda *given: framework.block_until_ready(compiled(*given))
    return cast(Call, framework.no_grad()(call)) if backend == "torch" else call


def _environment(backend: str) -> dict[str, Json]:
    known: dict[str, Json] = {"backend": backend}
    framework = _framework(backend)
    if framework is not None:
        known["backend_version"] = str(framework.__version__)
    if backend == "tensorflow":
        known["threads"] = framework.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()
    elif backend == "torch":
        known["threads"] = framework.get_num_threads()
    return known
