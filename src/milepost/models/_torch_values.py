"""The variables of a PyTorch module and their values: named, shared and typed as `state_dict` has them."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import ml_dtypes  # noqa: F401 - gives NumPy the dtypes that `_BITS` names
import torch

from milepost.core.types import Array, Variable
from milepost.errors import Mismatch, UsageError
from milepost.models import _torch_dtypes as policy

# NumPy has no such dtypes: ml_dtypes' arrays are handed over as plain integers of the same width.
_BITS = {"bfloat16": "int16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}
_NUMPYS_OWN = frozenset("?bBhHiIlLqQefdgFDG")  # dtype characters; ml_dtypes' are others


@dataclasses.dataclass(frozen=True, slots=True)
class SharedValue:
    """A parameter or buffer that has a value of its own, and every tensor object of the module that shares it."""

    variable: Variable
    holders: tuple[torch.Tensor, ...]


def variables_of(module: torch.nn.Module) -> tuple[Variable, ...]:
    """Walk the module as `state_dict` does; return all names, shared ones with their owner."""
    owners: dict[tuple[Any, ...], str] = {}
    variables = []
    for name, tensor, optional in named_tensors(module):
        owner = owners.setdefault(_place(tensor), name)
        tied = None if owner == name else owner
        dtype, shape = policy.name_of(tensor.dtype), tuple(tensor.shape)
        buffer = not isinstance(tensor, torch.nn.Parameter)
        variables.append(Variable(name, dtype, shape, tied, optional, buffer=buffer))
    return tuple(variables)


def slots_of(module: torch.nn.Module, variables: tuple[Variable, ...]) -> tuple[SharedValue, ...]:
    """Return the distinct values of a module that may have been moved or converted since its variables were named."""
    holders: dict[str, list[torch.Tensor]] = {}
    for variable, (_, tensor, _) in zip(variables, named_tensors(module), strict=True):
        holders.setdefault(variable.tied_to or variable.name, []).append(tensor)
    named = {item.name: item for item in variables}
    return tuple(SharedValue(named[name], tuple(found)) for name, found in holders.items())


def named_tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Yield name, tensor and whether it is optional, without `state_dict` itself, whose hooks may rename or convert."""
    for path, part in module.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        counted = isinstance(part, torch.nn.modules.batchnorm._NormBase)  # noqa: SLF001 - the base of all that count
        # The private dicts, because named_parameters() hides shared ones and what is persistent has no public name.
        held: dict[str, torch.Tensor | None] = {**part._parameters, **part._buffers}  # noqa: SLF001 - without those of its parts
        for name, tensor in held.items():
            if tensor is None or name in part._non_persistent_buffers_set:  # noqa: SLF001 - it has no public name
                continue
            full = prefix + name
            if isinstance(tensor, torch.nn.UninitializedParameter | torch.nn.UninitializedBuffer):
                raise UsageError(f"{full!r} has no shape yet; call the lazy module once on an example in `build`")
            yield full, tensor, counted and name == "num_batches_tracked"


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return what two tensors that share one value have in common: the object, or memory and layout."""
    if tensor.numel() == 0 or tensor.device.type == "meta":
        return (id(tensor),)
    return (str(tensor.device), tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())


def values_of(module: torch.nn.Module) -> dict[str, Array]:
    """Return the values of a module's variables as arrays of their own, by owner's name."""
    found = {}
    for slot in slots_of(module, variables_of(module)):
        tensor = slot.holders[0].detach().cpu()
        dtype = str(slot.variable.dtype)
        bits = _BITS.get(dtype)
        array = tensor.numpy() if bits is None else tensor.view(getattr(torch, bits)).numpy().view(dtype)
        found[slot.variable.name] = array.copy()
    return found


def must_copy(array: Array) -> bool:
    """Return whether `torch.from_numpy` would refuse the array, or warn of it because it cannot be written to."""
    plain = array.dtype.char in _NUMPYS_OWN and array.dtype.isnative
    return not (plain and array.flags.writeable and array.flags.c_contiguous)


def tensor_of(array: Array, name: str, *, copy: bool = True) -> torch.Tensor:
    """Return an array as a tensor, of its own by `copy`: read-only maps, foreign byte orders, ml_dtypes' dtypes too."""
    native = array.astype(array.dtype.newbyteorder("="), order="C", copy=copy)
    try:
        dtype = native.dtype.name
        if dtype in _BITS:
            return torch.from_numpy(native.view(_BITS[dtype])).view(getattr(torch, dtype))
        return torch.from_numpy(native)
    except TypeError as error:
        raise Mismatch(f"{name}: PyTorch has no dtype for {array.dtype}") from error


def check_cast(found: torch.Tensor, holder: torch.Tensor, name: str) -> None:
    """Allow floating to floating of any width, and otherwise only what keeps every number."""
    if found.dtype == holder.dtype or (found.is_floating_point() and holder.is_floating_point()):
        return
    integers = not any(
        item.is_floating_point() or item.is_complex() or item.dtype == torch.bool for item in (found, holder)
    )
    if not integers or not torch.equal(found.to(holder.dtype).to(found.dtype), found):
        raise Mismatch(f"variable {name!r} has dtype {holder.dtype}; found {found.dtype}, which does not convert to it")
