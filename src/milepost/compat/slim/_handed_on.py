"""Names that stay the ancestors' own."""

import importlib
import warnings
from functools import reduce
from typing import Any

from milepost.errors import MissingExtra

_EXTRA = {"tensorflow": "tf", "tf_slim": "slim"}


def original(module: str) -> Any:
    """Import one of the ancestors' modules; a `MissingExtra` says how to install it."""
    package = module.partition(".")[0]
    if package == "tf_slim":
        # What tf_slim 1.1.0 misses in today's TensorFlow (slim.batch_norm) is put back by the adapter's import.
        importlib.import_module("milepost.models.tf1")
    try:
        top = importlib.import_module(package)
        # TensorFlow's are attributes, not modules that can be imported.
        return importlib.import_module(module) if package == "tf_slim" else reduce(getattr, module.split(".")[1:], top)
    except ModuleNotFoundError as error:
        raise MissingExtra(package, _EXTRA[package]) from error


def handed_on(module: str, name: str, asked: str) -> Any:
    """Return a metric that is not Milepost's, saying so; an `AttributeError` where the original has none either."""
    found = None if name.startswith("_") else getattr(original(module), name, None)
    if found is None:
        raise AttributeError(f"module {asked!r} has no attribute {name!r}", name=name)
    warnings.warn(
        f"{name} is {module}'s own, not Milepost's: its sums are float32 and its value may race with its update",
        stacklevel=3,
    )
    return found
