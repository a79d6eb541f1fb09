"""The base that a function builds, into which adapters are merged."""

import copy
import hashlib
from collections.abc import Callable, Mapping

import torch

from milepost._internal.memory import fits_memory
from milepost._internal.serialization import digest
from milepost._internal.text import listed
from milepost.core.types import Adapter, Array
from milepost.errors import Mismatch, Unsupported
from milepost.models import _peft
from milepost.models._torch_values import tensor_of, values_of, variables_of


class AdapterBase:
    """A base and what merges adapters into it: built on first use, by `make` under a seed.

    What another seed changes was not loaded but drawn at random: the base is not whole there, and an adapter must hold
    these values itself (a new head among `modules_to_save`).
    """

    called = _peft.CALLED

    def __init__(self, make: Callable[[int], torch.nn.Module]) -> None:
        self._make = make
        self._module: torch.nn.Module | None = None
        self._digests: dict[str, str] = {}
        self._drawn: frozenset[str] = frozenset()
        self._shared: frozenset[str] = frozenset()

    def base(self) -> str:
        """Return a digest of the base's values and of what merges into them."""
        self._built()
        return digest([self.called, self._digests])

    def __call__(self, adapter: Adapter, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return the values of the base's variables with an adapter merged into them, in the dtypes of the base.

        Raises Mismatch and Unsupported as `_peft.merged`, and Mismatch for values that neither base nor adapter has.
        """
        built = self._built()
        loose = sorted(self._drawn - _peft.given_whole(arrays))
        if loose:
            raise Mismatch(
                f"`build` draws {listed(loose)} at random, and the adapter does not hold "
                f"{'it' if len(loose) == 1 else 'them'}: load the base's weights in the function given to TorchModel"
            )
        shared = sorted(name for name in self._shared if name.rpartition(".")[0] in _peft.changed(arrays))
        with fits_memory("the weights of a checkpoint"):
            tensors = {name: tensor_of(array, name) for name, array in arrays.items()}
            values = values_of(_peft.merged(copy.deepcopy(built), adapter, tensors))
        shared += sorted(values.keys() ^ self._digests.keys())
        if shared:
            raise Unsupported(
                f"the adapter changes {listed(shared)}, which the base shares with another layer: merged, it would "
                "change both; let `build` give base and adapter as a PEFT model, or untie the two"
            )
        return values

    def _built(self) -> torch.nn.Module:
        if self._module is None:
            other = _digests(self._make(1))
            module = self._make(0)
            self._digests = _digests(module)
            self._drawn = frozenset(name for name, value in self._digests.items() if other.get(name) != value)
            tied = [item for item in variables_of(module) if item.tied_to]
            self._shared = frozenset(name for item in tied for name in (item.name, item.tied_to or ""))
            self._module = module
        return self._module


def _digests(module: torch.nn.Module) -> dict[str, str]:
    values = values_of(module)
    return {
        name: hashlib.sha256(f"{array.dtype.name} {array.shape} ".encode() + array.tobytes()).hexdigest()
        for name, array in values.items()
    }
