"""What an Evaluation is made of, checked when it is made: each seam's members, its values, its half-made capabilities.

Nothing is built, read or predicted here, and no framework is imported.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from milepost.core.capabilities import CAPABILITIES, capability, is_begun, members, missing
from milepost.core.protocols import Bounded, HasBatchSize, HasFixedBatch, Metric, Model, Source, Task
from milepost.core.types import Column
from milepost.errors import UsageError

_DIRECTIONS = ("higher", "lower", "none")
_ROLES: Mapping[type, str] = {Model: "model", Source: "source", Task: "task", Metric: "metric"}


def check_seams(model: object, data: Mapping[str, object], task: object, metrics: object) -> None:
    """Raise a UsageError for a model, source, task or metric that is none, or lacks a member, saying what to do.

    >>> check_seams(None, {}, None, [])
    Traceback (most recent call last):
        ...
    milepost.errors.UsageError: Evaluation(model=...): found a NoneType; expected an adapter, such as TorchModel(Net)
    """
    _check(_Given(Model, "model=...", model), "expected an adapter, such as TorchModel(Net)")
    for name, source in data.items():
        _check(_Given(Source, f"data={{{name!r}: ...}}", source), "expected a source, such as Arrays(images, labels)")
    _check(_Given(Task, "task=...", task), 'expected a task, such as Classification(outputs="logits")')
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise UsageError(f"Evaluation(metrics=...): found {_found(metrics)}; expected a list, such as [TopK(1)]")
    for place, metric in enumerate(metrics):
        _check(_Given(Metric, f"metrics[{place}]", metric), "expected a metric, such as TopK(1)")


@dataclass(frozen=True, slots=True)
class _Given:
    """What stands for a seam, and where in the Evaluation."""

    seam: type
    where: str
    thing: Any

    def refusal(self, fault: str) -> UsageError:
        """Return the error for a fault of this thing, which is called by its name."""
        name = inspect.getattr_static(self.thing, "name", None)
        called = name if isinstance(name, str) else type(self.thing).__name__
        return UsageError(f"Evaluation({self.where}): {_ROLES[self.seam]} {called!r} {fault}")

    def lacks(self, member: str, kind: type, because: str = "") -> UsageError:
        """Return the error for a member that is missing, with what the Protocol says of it."""
        declared = next(vars(base)[member] for base in kind.__mro__ if member in vars(base))
        what = "method" if members(kind)[member] else "value"
        return self.refusal(f"has no {what} `{member}`{because}: {str(inspect.getdoc(declared)).splitlines()[0]}")

    def wrong(self, member: str, value: object, expected: str) -> UsageError:
        """Return the error for a member with a value that cannot be used."""
        return self.refusal(f"has {member} = {value!r}; expected {expected}")


def _check(given: _Given, expected: str) -> None:
    thing = given.thing
    if inspect.isclass(thing) or not is_begun(thing, given.seam):
        raise UsageError(f"Evaluation({given.where}): found {_found(thing)}; {_advice(given) or expected}")
    for name in missing(thing, given.seam):
        raise given.lacks(name, given.seam)
    for kind in CAPABILITIES[given.seam]:
        for name in missing(thing, kind) if is_begun(thing, kind) else ():
            begun = next(item for item in members(kind) if item not in missing(thing, kind))
            raise given.lacks(name, kind, f", which it needs because it has `{begun}`")
    _check_values(given)


def _check_values(given: _Given) -> None:
    thing = given.thing
    if given.seam in (Task, Metric) and not _is_name(thing.name):
        raise given.wrong("name", thing.name, "text")
    if given.seam is Task:
        columns = thing.columns()
        if not isinstance(columns, Mapping) or not all(isinstance(item, Column) for item in columns.values()):
            raise given.wrong("columns()", columns, "a dict of names to Column")
    if given.seam is Metric:
        _check_metric(given)
    fixed, batched = capability(thing, HasFixedBatch), capability(thing, HasBatchSize)
    if given.seam is Model and fixed is not None and not isinstance(fixed.fixed_batch, bool):
        raise given.wrong("fixed_batch", fixed.fixed_batch, "True or False")
    if given.seam is Source and batched is not None and not _is_size(batched.own_batch_size):
        raise given.wrong("own_batch_size", batched.own_batch_size, "a positive integer, or None")


def _check_metric(given: _Given) -> None:
    metric = given.thing
    if not _is_name(metric.headline):
        raise given.wrong("headline", metric.headline, "text")
    columns = metric.columns
    if not isinstance(columns, Sequence) or isinstance(columns, str) or not columns:
        raise given.wrong("columns", columns, "a tuple of names, such as ('label', 'prediction')")
    if metric.direction not in _DIRECTIONS:
        raise given.wrong("direction", metric.direction, f"one of {', '.join(map(repr, _DIRECTIONS))}")
    bounded = capability(metric, Bounded)
    if bounded is not None and not _is_interval(bounded.range):
        raise given.wrong("range", bounded.range, "its smallest and its largest value, such as (0.0, 1.0)")


def _is_name(found: object) -> bool:
    return isinstance(found, str) and bool(found)


def _is_size(found: object) -> bool:
    return found is None or (isinstance(found, int) and not isinstance(found, bool) and found > 0)


def _is_interval(found: object) -> bool:
    if not isinstance(found, tuple) or len(found) != 2:  # noqa: PLR2004 - smallest and largest
        return False
    return all(isinstance(item, float | int) for item in found) and bool(found[0] < found[1])


def _found(given: object) -> str:
    return f"the class {given.__name__}" if inspect.isclass(given) else f"a {type(given).__name__}"


def _advice(given: _Given) -> str | None:
    """Return what to write, by the name of the framework: none is imported here."""
    thing, seam = given.thing, given.seam
    kind = thing if inspect.isclass(thing) else type(thing)
    bases = {base.__module__.partition(".")[0] for base in kind.__mro__}
    if seam in (Task, Metric) and inspect.isclass(thing):
        return f"expected an object of it: write {thing.__name__}(...)"
    if seam is Model and "torch" in bases:
        return f"wrap it: TorchModel({kind.__name__}), or TorchModel(lambda: {kind.__name__}(...)) with arguments"
    if seam is Model and callable(thing):
        return "wrap it: TorchModel(function that builds a module), or FunctionModel(function of weights and inputs)"
    if seam is Source and "torch" in bases:
        return "wrap it: TorchLoader(...)"
    if seam is Source and isinstance(thing, tuple | list):
        return "wrap it: Arrays(inputs, labels)"
    return None
