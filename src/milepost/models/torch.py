"""PyTorch modules: built once, with the weights of several checkpoints loaded beside the one module.

Changing the weights sets the `.data` of every parameter and buffer and copies nothing. Measured on one busy core for
a module of 371 tensors: 0.2 to 0.5 ms a change and nothing while the weights stay, against 2.4 ms more for every call
of `torch.func.functional_call`, which moreover does not reach modules that keep their parameters in lists (recurrent
ones).
"""

import copy
import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Unpack

import numpy as np

from milepost._internal.memory import fits_memory
from milepost.core.protocols import Merger
from milepost.core.types import Array, Json, Variable
from milepost.errors import MissingExtra, UsageError

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingExtra("torch", "torch") from error

from milepost.models import _torch_dtypes as policy
from milepost.models._torch_suspects import changes, suspects
from milepost.models._torch_values import (
    SharedValue,
    check_cast,
    must_copy,
    named_tensors,
    slots_of,
    tensor_of,
    values_of,
    variables_of,
)
from milepost.models._values import array_for, repeatable, shared
from milepost.restore.overrides import GivenNames, again, check_names, overrides_of, spec_of_overrides

_INTEGERS = frozenset({torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TorchWeights:
    """One checkpoint's tensors, in the order of the module's slots."""

    tensors: tuple[torch.Tensor, ...]


class TorchModel:
    r"""A PyTorch model: `build` is a class or function without arguments that returns a module, or a module.

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

    Names of a checkpoint that are not the module's are refused, but for those of wrappers (`module.`, `_orig_mod.`) and
    of libraries (`gamma`, `weight_g`). What the user says of others is part of the evaluation's key:

    - `restore={"checkpoint.name": "module.name"}` renames; both may be scopes: `{"bert.": "encoder."}`, `{"": "net."}`.
    - `rename={r"layer(\d+)": r"layers.\1"}` renames by regular expressions, in order, what `restore` does not name.
    - `keep=("head.*",)` leaves variables as built (under a fixed seed): the result is marked PARTIAL.
    - `ignore=("aux.*",)` are tensors of the checkpoint that the module has no variable for.

    With `adapter=True`, `build` gives a base with its weights loaded, and checkpoints that are LoRA adapters of it are
    merged into it by PEFT, which has to be installed; the result is known by the merged values. Other checkpoints are
    whole models, as ever.

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
        adapter: bool = False,
        **names: Unpack[GivenNames],
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
        self.overrides = overrides_of(self.initial, names)
        self._merger = _merger(self._made, adapter=adapter)
        self._module: torch.nn.Module | None = None
        self._slots: tuple[SharedValue, ...] = ()
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
                "--allow-missing and keep=(...): TorchModel was handed a module, whose first values may differ from "
                "run to run; hand it the class or function that builds one, which is then called under a fixed seed"
            )
        if not self._initial:
            self._initial = [values_of(self._made()) for _ in range(2)]
        first, again = self._initial
        return repeatable(names, first, again, "draw them from PyTorch's generator, or from one with a seed")

    def on(self, device: str) -> "TorchModel":
        """Return the same model, with the same dtypes, for another device, with a module of its own."""
        return TorchModel(
            self._build,
            device,
            dtype=self._dtype,
            autocast=self._autocast,
            adapter=self._merger is not None,
            **again(self.overrides),
        )

    @property
    def merger(self) -> Merger | None:
        """What merges adapters into the base that `build` gives; None without `adapter=True`."""
        return self._merger

    def spec(self) -> dict[str, Json]:
        """Return what was declared of the arithmetic: part of the evaluation's key; {} where nothing was.

        >>> TorchModel(lambda: torch.nn.Linear(2, 1), autocast="bfloat16").spec()
        {'name': 'torch', 'autocast': 'bfloat16'}
        """
        declared = {"dtype": self._dtype, "autocast": self._autocast}
        named = {key: policy.name_of(value) for key, value in declared.items() if value is not None}
        named |= spec_of_overrides(self.overrides)
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
            self._variables = variables_of(module)
            check_names(self.overrides, [item.name for item in self._variables], "the module")
            module = self._converted(module).eval()
            self._slots = slots_of(module, self._variables)
            module.requires_grad_(requires_grad=False)
            floating = (item.dtype for item in module.parameters() if item.is_floating_point())
            self._floating = next(floating, self._dtype)
            self._module = module
        return self._module

    def _made(self, seed: int = 0) -> torch.nn.Module:
        """Return a new module: what it draws at random is the seed's, and the user's generator is left be."""
        if isinstance(self._build, torch.nn.Module):
            return copy.deepcopy(self._build)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            made = self._build()
        if not isinstance(made, torch.nn.Module):
            raise UsageError(f"the function given to TorchModel returned a {type(made).__name__}; expected a module")
        return made

    def _converted(self, module: torch.nn.Module) -> torch.nn.Module:
        if self._dtype is not None:
            imaginary = next((name for name, item, _ in named_tensors(module) if item.is_complex()), None)
            if imaginary is not None:
                raise UsageError(
                    f"dtype={policy.name_of(self._dtype)!r} would drop the imaginary part of {imaginary!r}; omit it"
                )
        return module.to(device=self._device, dtype=self._dtype)

    def _casting(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._autocast is None else torch.autocast(self._device.type, dtype=self._autocast)

    def _filled(self, slot: SharedValue, tensors: Mapping[str, Array]) -> torch.Tensor:
        """Return the tensor for a slot, in memory of its own."""
        holder, variable = slot.holders[0], slot.variable
        if variable.name not in tensors and variable.optional:
            return torch.zeros_like(holder)
        copy = shared(variable.name, tensors)
        found = tensor_of(array_for(variable, tensors), variable.name, copy=copy).reshape(holder.shape)
        check_cast(found, holder, variable.name)
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
            plain = not must_copy(value)
            value = torch.from_numpy(value) if plain else tensor_of(value, "inputs")
            if plain and self._device.type == "cpu" and (value.dtype == self._floating or value.dtype in _INTEGERS):
                return value  # as it is; a call into torch would hand the interpreter to the thread that reads ahead
        if not isinstance(value, torch.Tensor):
            return value
        dtype = self._floating if value.is_floating_point() else None
        return value.to(device=self._device, dtype=dtype)


def _merger(make: Callable[[int], torch.nn.Module], *, adapter: object) -> Merger | None:
    if not isinstance(adapter, bool):
        raise UsageError(
            "adapter is True or False: whether `build` gives a base, into which checkpoints that are adapters are "
            f"merged; found {adapter!r}"
        )
    if not adapter:
        return None
    from milepost.models._torch_adapters import AdapterBase  # noqa: PLC0415 - PEFT takes seconds to import

    return AdapterBase(make)
