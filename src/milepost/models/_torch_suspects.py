"""What in a PyTorch module makes a prediction depend on chance, on its neighbours, or on earlier calls.

One prediction is watched: which functions draw numbers or use a batch's own statistics, and on which line of whose
code; which submodules are in training mode; which buffers change.  Only for messages, once a model check has
failed.  Changed buffers are looked for in every check: what a prediction leaves may show only after many of them.
"""

import inspect
import os
import sys
from collections.abc import Callable, Container, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from milepost._internal.text import listed

_PACKAGES = (os.path.dirname(torch.__file__) + os.sep, os.path.dirname(os.path.dirname(__file__)) + os.sep)
_DRAWING = frozenset(
    {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "bernoulli"}
    | {"multinomial", "poisson", "gumbel_softmax", "bernoulli_", "normal_", "uniform_", "random_", "exponential_"}
    | {"cauchy_", "log_normal_", "geometric_"}
)
_SWITCHED = ("training", "train")
_RATES = ("dropout_p", "p")
_MATTERING = (
    torch.nn.modules.dropout._DropoutNd,  # noqa: SLF001 - the base of all kinds of dropout
    torch.nn.modules.batchnorm._BatchNorm,  # noqa: SLF001 - the base of all that average over a batch
    torch.nn.RReLU,
    torch.nn.RNNBase,
    torch.nn.MultiheadAttention,
)


def suspects(module: torch.nn.Module, predict: Callable[[], Any]) -> list[str]:
    """Watch one prediction and name what it should not do, the surest first; [] where nothing was seen."""
    before = _state(module)
    with _Watch() as watch:
        predict()
    found = list(dict.fromkeys(watch.seen))
    training = [
        f"{name or 'the model'} ({type(part).__name__})"
        for name, part in module.named_modules()
        if part.training and isinstance(part, _MATTERING)
    ]
    if training:
        found.append(f"in training mode though eval() was called: {listed(training)}")
    changed = [name for name, tensor in _state(module).items() if name in before and _differ(before[name], tensor)]
    if changed:
        found.append(f"changed by the forward pass: {listed(changed)}")
    return found


def changes(module: torch.nn.Module, names: Container[str]) -> Callable[[], list[str]]:
    """Remember a module's buffers of these names; return what names those that were changed or replaced since."""
    held = {name: (tensor, tensor.detach().clone()) for name, tensor in module.named_buffers() if name in names}

    def changed() -> list[str]:
        now = dict(module.named_buffers())
        return [name for name, (tensor, value) in held.items() if now.get(name) is not tensor or _differ(value, tensor)]

    return changed


class _Watch(TorchFunctionMode):
    """Notes the calls of functions that draw, or that use a batch's own statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        suspicion = _suspicious(func, args, given)
        if suspicion:
            self.seen.append(f"{suspicion} at {_place()}")
        return func(*args, **given)


def _suspicious(func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> str:
    """Return how a call reads that a prediction should not make, "" for any other."""
    name = getattr(func, "__name__", "")
    if name in _DRAWING:
        return name
    if name not in ("batch_norm", "rrelu", "scaled_dot_product_attention") and "dropout" not in name:
        return ""
    bound = _arguments(func, args, given)
    if name == "scaled_dot_product_attention":
        return f"{name}(dropout_p={bound['dropout_p']})" if bound.get("dropout_p") else ""
    switch = next((key for key in _SWITCHED if bound.get(key)), None)
    if switch is None or any(bound.get(key) == 0 for key in _RATES):
        return ""
    return f"{name}({switch}=True)"


def _arguments(func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any]:
    try:
        bound = inspect.signature(func).bind(*args, **given)
    except (TypeError, ValueError):  # built in: its kinds of dropout take (input, p, train)
        return {**dict(zip(("input", "p", "train"), args, strict=False)), **given}
    bound.apply_defaults()
    return dict(bound.arguments)


def _place() -> str:
    """Return file and line of the nearest caller that is neither PyTorch nor Milepost."""
    frame: Any = sys._getframe(1)  # noqa: SLF001 - the documented way to the caller's frame
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGES):
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}" if frame is not None else "unknown"


def _state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    held = [*module.named_buffers(), *module.named_parameters()]
    return {name: tensor.detach().clone() for name, tensor in held}


def _differ(one: torch.Tensor, two: torch.Tensor) -> bool:
    if one.shape != two.shape or one.dtype != two.dtype:
        return True
    return bool(((one != two) & ~((one != one) & (two != two))).any())  # noqa: PLR0124 - NaN is what differs from itself
