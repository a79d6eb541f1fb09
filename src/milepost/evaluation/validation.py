"""What an Evaluation is made of, looked at before anything is built: a word for the slips that everybody makes once."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from milepost.errors import UsageError

_ROLES = {
    "model": ("variables", "load", "predict"),
    "data": ("fingerprint", "batches"),
    "task": ("columns", "reduce"),
    "metric": ("columns", "state", "values"),
}


def check_parts(model: Any, data: Mapping[str, Any], task: Any, metrics: Iterable[Any]) -> None:
    """Raise a UsageError for a model, source, task or metric that is none, saying how to make one of it.

    >>> check_parts(None, {}, None, [])
    Traceback (most recent call last):
        ...
    milepost.errors.UsageError: Evaluation(model=...): found a NoneType; expected an adapter, such as TorchModel(Net)
    """
    _check("model", "model=...", model, "expected an adapter, such as TorchModel(Net)")
    for name, source in data.items():
        _check("data", f"data={{{name!r}: ...}}", source, "expected a source, such as Arrays(images, labels)")
    _check("task", "task=...", task, 'expected a task, such as Classification(outputs="logits")')
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise UsageError(f"Evaluation(metrics=...): found {_found(metrics)}; expected a list, such as [TopK(1)]")
    for place, metric in enumerate(metrics):
        _check("metric", f"metrics[{place}]", metric, "expected a metric, such as TopK(1)")


def _check(role: str, where: str, given: Any, expected: str) -> None:
    if inspect.isclass(given) or not all(hasattr(given, name) for name in _ROLES[role]):
        raise UsageError(f"Evaluation({where}): found {_found(given)}; {_advice(role, given) or expected}")


def _found(given: Any) -> str:
    if inspect.isclass(given):
        return f"the class {given.__name__}"
    return f"a {type(given).__name__}"


def _advice(role: str, given: Any) -> str | None:
    """Say what to write, by the name of the framework: none is imported here."""
    kind = given if inspect.isclass(given) else type(given)
    bases = {base.__module__.partition(".")[0] for base in kind.__mro__}
    if role in ("task", "metric") and inspect.isclass(given):
        return f"expected an object of it: write {given.__name__}(...)"
    if role == "model" and "torch" in bases:
        return f"wrap it: TorchModel({kind.__name__}), or TorchModel(lambda: {kind.__name__}(...)) with arguments"
    if role == "model" and callable(given):
        return "wrap it: TorchModel(function that builds a module), or FunctionModel(function of weights and inputs)"
    if role == "data" and "torch" in bases:
        return "wrap it: TorchLoader(...)"
    if role == "data" and isinstance(given, tuple | list):
        return "wrap it: Arrays(inputs, labels)"
    return None
