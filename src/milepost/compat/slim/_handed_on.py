"""Names that stay the ancestors' own."""

import importlib
import warnings
from collections.abc import Callable
from functools import reduce, wraps
from inspect import isfunction
from typing import Any

from milepost.errors import MissingExtra, UsageError

_EXTRA = {"tensorflow": "tf", "tf_slim": "slim"}


def original(module: str) -> Any:
    """Import one of the ancestors' modules; a `MissingExtra` says how to install it."""
    package = module.partition(".")[0]
    if package == "tf_slim":
        put_back()
    try:
        top = importlib.import_module(package)
        # TensorFlow's are attributes, not modules that can be imported.
        return importlib.import_module(module) if package == "tf_slim" else reduce(getattr, module.split(".")[1:], top)
    except ModuleNotFoundError as error:
        raise MissingExtra(package, _EXTRA[package]) from error


def put_back() -> None:
    """Put back what tf_slim 1.1.0 misses in today's TensorFlow: for `slim.batch_norm`, `slim.local_variable`, ..."""
    import milepost.models.tf1  # noqa: F401, PLC0415 - its import does so for slim.batch_norm, and takes seconds

    scopes: Any = importlib.import_module("tensorflow.python.ops.variable_scope")
    if not hasattr(scopes, "variable"):
        scopes.variable = importlib.import_module("tensorflow").compat.v1.Variable


def handed_on(module: str, name: str, asked: str) -> Any:
    """Return a metric that is not Milepost's, saying so; an `AttributeError` where the original has none either.

    tf_slim's raise `UsageError` when called, where they ask TensorFlow for what it no longer has.
    """
    found = None if name.startswith("_") else getattr(original(module), name, None)
    if found is None:
        raise AttributeError(f"module {asked!r} has no attribute {name!r}", name=name)
    warnings.warn(
        f"{name} is {module}'s own, not Milepost's: its sums are float32 and its value may race with its update",
        stacklevel=3,
    )
    return _outdated(found, name) if module == "tf_slim.metrics" and isfunction(found) else found


def _outdated(metric: Callable[..., Any], name: str) -> Callable[..., Any]:
    tf = original("tensorflow.compat.v1")

    @wraps(metric)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return metric(*args, **kwargs)
        except AttributeError as error:
            if not str(error).startswith("module 'tensorflow"):
                raise
            twin = name.removeprefix("streaming_")
            advice = (
                f"use tf.metrics.{twin}, which takes labels first,"
                if hasattr(tf.metrics, twin)
                else "fetch labels and predictions of each batch, and compute it from all of them (scikit-learn)"
            )
            raise UsageError(
                f"{name} is tf_slim's own, which does not run on TensorFlow {tf.__version__} ({error}): {advice} until "
                "Milepost has it"
            ) from error

    return call
