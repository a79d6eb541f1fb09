"""PyTorch modules: built once, with the weights of several checkpoints loaded beside the one module.

Changing the weights sets the `.data` of every parameter and buffer and copies nothing. Measured on one busy core for
a module of 371 tensors: 0.2 to 0.5 ms a change and nothing while the weights stay, against 2.4 ms more for every call
of `torch.func.functional_call`, which moreover does not reach modules that keep their parameters in lists (recurrent
ones).
"""

import copy
import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import ml_dtypes  # noqa: F401 - gives NumPy the dtypes that `_BITS` names
import numpy as np

from milepost._internal.memory import fits_memory
from milepost.core.types import Array, Json, Variable
from milepost.errors import Mismatch, MissingExtra, UsageError

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingExtra("torch", "torch") from error

from milepost.models import _torch_dtypes as policy
from milepost.models._torch_suspects import changes, suspects
from milepost.models._values import array_for, repeatable

# NumPy has no such dtypes: ml_dtypes' arrays are handed over as plain integers of the same width.
_BITS = {"bfloat16": "int16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}
_NUMPYS_OWN = frozenset("?bBhHiIlLqQefdgFDG")  # dtype characters; ml_dtypes' are others
_INTEGERS = frozenset({torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TorchWeights:
    """One checkpoint's tensors, in the order of the module's slots."""

    tensors: tuple[torch.Tensor, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _SharedValue:
    """A parameter or buffer that has a value of its own, and every tensor object of the module that shares it."""

    variable: Variable
    holders: tuple[torch.Tensor, ...]


class TorchModel:
    """A PyTorch model: `build` is a class or function without arguments that returns a module, or a module.

    The module is built once, on first use, put into evaluation mode and on the device; a module that is handed in
    is copied first and never changed.  `predict` runs under `torch.inference_mode()`.

    Variables are the parameters and persistent buffers under their names in `state_dict`; a shared one is tied to its
    first name. `num_batches_tracked` of normalisation layers is optional: it does not enter a prediction in evaluation
    mode, early versions did not save it, and some save it with shape (1,). Buffers that are not persistent stay as
    built.

    Inputs: a NumPy array goes to the model's only input, a dict to its inputs by name. Floating inputs are converted
    to the dtype of the model's first floating parameter (so float64 loses digits in a float32 model); integers and
    booleans keep theirs. Outputs stay tensors on the device. Not for use from several threads at once.

    `dtype` ("bfloat16", "float16", "float32", "float64", or PyTorch's own object) converts the built module, and with
    it the inputs, as `module.to(dtype)` does. `autocast` ("bfloat16", "float16") runs predictions under
    `torch.autocast` instead, weights and inputs as they are. Both are part of the evaluation's key; a
    checkpoint's digest is that of its values in the dtypes that the module was built with. `UsageError` for a dtype
    that is unknown, or that the device has no autocast for.

    >>> model = TorchModel(lambda: torch.nn.Linear(2, 1))
    >>> weights = model.load({"weight": np.ones((1, 2)), "bias": np.zeros(1)})
    >>> model.predict(weights, np.array([[1, 2]], "float32")).tolist()
    [[3.0]]
    """

    name = "torch"

    def __init__(
        self,
        build: Callable[[], torch.nn.Module] | torch.nn.Module,
        device: str = "cpu",
        *,
        dtype: str | torch.dtype | None = None,
        autocast: str | torch.dtype | None = None,
    ) -> None:
        if not callable(build):
            raise UsageError(
                f"TorchModel takes a class or function that builds a module; found a {type(build).__name__}"
            )
        self._build = build
        self._device = policy.device_of(device)
        self._dtype = policy.declared("dtype", dtype, policy.DTYPES)
        self._autocast = policy.declared("autocast", autocast, policy.AUTOCASTS)
        if self._autocast is not None:
            policy.check_autocast(self._device, self._autocast)
        self._module: torch.nn.Module | None = None
        self._slots: tuple[_SharedValue, ...] = ()
        self._variables: tuple[Variable, ...] = ()
        self._current: TorchWeights | None = None
        self._floating: torch.dtype | None = None
        self._initial: list[dict[str, Array]] = []

    def variables(self) -> tuple[Variable, ...]:
        """Return parameters and persistent buffers in the order of `state_dict`; shared ones name their owner."""
        self._built()
        return self._variables

    def load(self, tensors: Mapping[str, Array]) -> TorchWeights:
        """Copy arrays by variable name to the device, in the model's dtypes; tied and optional names may be absent.

        Floating arrays may be of any width, and integer ones of any that holds the same numbers; anything else, a shape
        that differs, or an absent variable is a `Mismatch`.
        """
        self._built()
        with fits_memory("the weights of a checkpoint"):
            return TorchWeights(tuple(self._filled(slot, tensors) for slot in self._slots))

    def predict(self, weights: TorchWeights, inputs: Any) -> Any:
        """Return the module's outputs for one batch; `OutOfMemory` where they do not fit, other errors pass through."""
        module = self._built()
        if weights is not self._current:
            self._swap(weights)
        with fits_memory("a batch or its outputs"), torch.inference_mode(), self._casting():
            if isinstance(inputs, Mapping):
                return module(**{name: self._input(value) for name, value in inputs.items()})
            return module(self._input(inputs))

    @property
    def compiles_each_size(self) -> bool:
        """Whether a part of the module was compiled by PyTorch."""
        compiler: Any = sys.modules.get("torch._dynamo")  # `torch.compile` has imported it, which takes a second
        made = () if compiler is None else (compiler.OptimizedModule,)
        parts = self._built().modules()
        return any(isinstance(part, made) or part._compiled_call_impl is not None for part in parts)  # noqa: SLF001 - what `Module.compile` sets

    def release(self) -> None:
        """Let go of the weights that were predicted with last, and of what PyTorch keeps of a device's memory."""
        self._current = None
        for slot in self._slots:
            for holder in slot.holders:
                # One number that looks like a whole tensor: `load` reads shape, dtype and device from it.
                holder.data = torch.zeros((), dtype=holder.dtype, device=holder.device).expand(holder.shape)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def suspects(self, weights: TorchWeights, inputs: Any) -> list[str]:
        """Watch one more prediction and name what in it depends on chance, on the batch or on earlier calls."""
        module = self._built()
        self._swap(weights)
        return suspects(module, lambda: self.predict(weights, inputs))

    def changes(self, weights: TorchWeights) -> Callable[[], list[str]]:
        """Return what names the persistent buffers that predictions changed, or put others in place of, from now on."""
        module = self._built()
        self._swap(weights)
        return changes(module, {slot.variable.name for slot in self._slots if not slot.variable.optional})

    def initial(self, names: Iterable[str]) -> dict[str, Array]:
        """Return the values that variables (owners of theirs) are built with, for those that a checkpoint lacks.

        `build` is called under a fixed seed of PyTorch's own generator, so that they are the same in every process.
        UsageError where they are not, or where a module was handed in, which was built before.
        """
        if isinstance(self._build, torch.nn.Module):
            raise UsageError(
                "--allow-missing: TorchModel was handed a module, whose first values may differ from run to run; hand "
                "it the class or function that builds one, which is then called under a fixed seed"
            )
        if not self._initial:
            self._initial = [_values(self._made()) for _ in range(2)]
        first, again = self._initial
        return repeatable(names, first, again, "draw them from PyTorch's generator, or from one with a seed")

    def on(self, device: str) -> "TorchModel":
        """Return the same model, with the same dtypes, for another device, with a module of its own."""
        return TorchModel(self._build, device, dtype=self._dtype, autocast=self._autocast)

    def spec(self) -> dict[str, Json]:
        """Return what was declared of the arithmetic: part of the evaluation's key; {} where nothing was.

        >>> TorchModel(lambda: torch.nn.Linear(2, 1), autocast="bfloat16").spec()
        {'name': 'torch', 'autocast': 'bfloat16'}
        """
        declared = {"dtype": self._dtype, "autocast": self._autocast}
        named = {key: policy.name_of(value) for key, value in declared.items() if value is not None}
        return {"name": self.name, **named} if named else {}

    def environment(self) -> dict[str, Json]:
        """Return framework, version, device, threads and what the kernels were chosen by.

        `threads` are those within an operation (which OMP_NUM_THREADS and its like set), `interop_threads` those
        between operations; `float32_matmul` is PyTorch's own precision of products of float32 matrices.
        """
        return policy.environment(self._device)

    def _built(self) -> torch.nn.Module:
        if self._module is None:
            module = self._made()
            # Named, tied and typed as built: a conversion parts tensors that share memory.
            self._variables = _variables(module)
            module = self._converted(module).eval()
            self._slots = _slots(module, self._variables)
            module.requires_grad_(requires_grad=False)
            floating = (item.dtype for item in module.parameters() if item.is_floating_point())
            self._floating = next(floating, self._dtype)
            self._module = module
        return self._module

    def _made(self) -> torch.nn.Module:
        """Return a new module: what it draws at random is the same each time, and the user's generator is left be."""
        if isinstance(self._build, torch.nn.Module):
            return copy.deepcopy(self._build)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            made = self._build()
        if not isinstance(made, torch.nn.Module):
            raise UsageError(f"the function given to TorchModel returned a {type(made).__name__}; expected a module")
        return made

    def _converted(self, module: torch.nn.Module) -> torch.nn.Module:
        if self._dtype is not None:
            imaginary = next((name for name, item, _ in _named_tensors(module) if item.is_complex()), None)
            if imaginary is not None:
                raise UsageError(
                    f"dtype={policy.name_of(self._dtype)!r} would drop the imaginary part of {imaginary!r}; omit it"
                )
        return module.to(device=self._device, dtype=self._dtype)

    def _casting(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._autocast is None else torch.autocast(self._device.type, dtype=self._autocast)

    def _filled(self, slot: _SharedValue, tensors: Mapping[str, Array]) -> torch.Tensor:
        """Return the tensor for a slot, in memory of its own."""
        holder, variable = slot.holders[0], slot.variable
        if variable.name not in tensors and variable.optional:
            return torch.zeros_like(holder)
        found = _tensor(array_for(variable, tensors), variable.name).reshape(holder.shape)
        _check_cast(found, holder, variable.name)
        as_built = found.to(getattr(torch, str(variable.dtype)))  # rounded as a module that is loaded, then converted
        return as_built.to(device=holder.device, dtype=holder.dtype)

    def _swap(self, weights: TorchWeights) -> None:
        # Were it interrupted half-way, the module would hold some of both: so note that first.
        self._current = None
        for slot, tensor in zip(self._slots, weights.tensors, strict=True):
            for holder in slot.holders:
                holder.data = tensor
        self._current = weights

    def _input(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            plain = not _must_copy(value)
            value = torch.from_numpy(value) if plain else _tensor(value, "inputs")
            if plain and self._device.type == "cpu" and (value.dtype == self._floating or value.dtype in _INTEGERS):
                return value  # as it is; a call into torch would hand the interpreter to the thread that reads ahead
        if not isinstance(value, torch.Tensor):
            return value
        dtype = self._floating if value.is_floating_point() else None
        return value.to(device=self._device, dtype=dtype)


def _variables(module: torch.nn.Module) -> tuple[Variable, ...]:
    """Walk the module as `state_dict` does; return all names, shared ones with their owner."""
    owners: dict[tuple[Any, ...], str] = {}
    variables = []
    for name, tensor, optional in _named_tensors(module):
        owner = owners.setdefault(_place(tensor), name)
        tied = None if owner == name else owner
        dtype, shape = policy.name_of(tensor.dtype), tuple(tensor.shape)
        buffer = not isinstance(tensor, torch.nn.Parameter)
        variables.append(Variable(name, dtype, shape, tied, optional, buffer=buffer))
    return tuple(variables)


def _slots(module: torch.nn.Module, variables: tuple[Variable, ...]) -> tuple[_SharedValue, ...]:
    """Return the distinct values of a module that may have been moved or converted since its variables were named."""
    holders: dict[str, list[torch.Tensor]] = {}
    for variable, (_, tensor, _) in zip(variables, _named_tensors(module), strict=True):
        holders.setdefault(variable.tied_to or variable.name, []).append(tensor)
    named = {item.name: item for item in variables}
    return tuple(_SharedValue(named[name], tuple(found)) for name, found in holders.items())


def _named_tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Yield name, tensor and whether it is optional, without `state_dict` itself, whose hooks may rename or convert."""
    for path, part in module.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        counted = isinstance(part, torch.nn.modules.batchnorm._NormBase)  # noqa: SLF001 - the base of all that count
        # The private dicts, because named_parameters() hides shared ones and what is persistent has no public name.
        held: dict[str, torch.Tensor | None] = {**part._parameters, **part._buffers}  # noqa: SLF001
        for name, tensor in held.items():
            if tensor is None or name in part._non_persistent_buffers_set:  # noqa: SLF001
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


def _values(module: torch.nn.Module) -> dict[str, Array]:
    """Return the values of a module's variables as arrays of their own, by owner's name."""
    found = {}
    for slot in _slots(module, _variables(module)):
        tensor = slot.holders[0].detach().cpu()
        dtype = str(slot.variable.dtype)
        bits = _BITS.get(dtype)
        array = tensor.numpy() if bits is None else tensor.view(getattr(torch, bits)).numpy().view(dtype)
        found[slot.variable.name] = array.copy()
    return found


def _must_copy(array: Array) -> bool:
    """Return whether `torch.from_numpy` would refuse the array, or warn of it because it cannot be written to."""
    plain = array.dtype.char in _NUMPYS_OWN and array.dtype.isnative
    return not (plain and array.flags.writeable and array.flags.c_contiguous)


def _tensor(array: Array, name: str) -> torch.Tensor:
    """Copy an array into a tensor of its own: read-only maps, foreign byte orders and ml_dtypes' dtypes included."""
    # A copy, because a memory-mapped file that is overwritten in place kills the process that reads the map.
    native = np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True)
    try:
        dtype = native.dtype.name
        if dtype in _BITS:
            return torch.from_numpy(native.view(_BITS[dtype])).view(getattr(torch, dtype))
        return torch.from_numpy(native)
    except TypeError as error:
        raise Mismatch(f"{name}: PyTorch has no dtype for {array.dtype}") from error


def _check_cast(found: torch.Tensor, holder: torch.Tensor, name: str) -> None:
    """Allow floating to floating of any width, and otherwise only what keeps every number."""
    if found.dtype == holder.dtype or (found.is_floating_point() and holder.is_floating_point()):
        return
    integers = not any(
        item.is_floating_point() or item.is_complex() or item.dtype == torch.bool for item in (found, holder)
    )
    if not integers or not torch.equal(found.to(holder.dtype).to(found.dtype), found):
        raise Mismatch(f"variable {name!r} has dtype {holder.dtype}; found {found.dtype}, which does not convert to it")
