"""The laws of a framework adapter: predictions are a pure function of the weights, whatever else is loaded.

```python
def test_my_adapter() -> None:
    check_adapter(AdapterCase(lambda: MyModel(net), (tensors_a, tensors_b), inputs))
```
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from milepost._internal.serialization import canonical
from milepost.core.capabilities import capability
from milepost.core.protocols import DeclaresArithmetic, HasEnvironment, Model, OnDevice
from milepost.core.types import Array

TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class AdapterCase:
    """What the laws are tried on.

    `make` returns a new adapter of one deterministic model. `tensors` are the arrays of two checkpoints, by variable
    name, that predict differently. `inputs` is a batch of at least four rows, an array or a dict of arrays. `needs`
    names the adapter's module, the package that it needs and the extra that brings it; None for an adapter that needs
    nothing.
    """

    make: Callable[[], Model]
    tensors: tuple[Mapping[str, Array], Mapping[str, Array]]
    inputs: Any
    needs: tuple[str, str, str] | None = None


def check_adapter(case: AdapterCase) -> None:
    """Check an adapter against every law; raise `AssertionError` where it fails."""
    laws = [_declares, _repeats, _keeps_checkpoints_apart, _keeps_its_inputs, _loads_maps, _keeps_rows_apart]
    for law in (*laws, _names_its_environment, _declares_its_arithmetic, _names_its_extra):
        law(case)


def _declares(case: AdapterCase) -> None:
    model = case.make()
    declared = model.variables()
    if declared is None:
        return
    assert list(model.variables() or ()) == list(declared), "variables() differ from call to call"
    owners = {item.name for item in declared if item.tied_to is None}
    names = [item.name for item in declared]
    assert len(set(names)) == len(names), "a variable is declared twice"
    for item in declared:
        assert item.tied_to is None or item.tied_to in owners, f"{item.name} is tied to {item.tied_to}: not an owner"
        assert item.shape is None or all(side >= 0 for side in item.shape), f"{item.name} has shape {item.shape}"
    needed = {item.name for item in declared if item.tied_to is None and not item.optional}
    for tensors in case.tensors:
        assert needed <= tensors.keys() <= set(names), "the case's tensors are not those that the model declares"
    before = list(declared)
    model.predict(model.load(case.tensors[0]), case.inputs)
    assert list(model.variables() or ()) == before, "loading and predicting change variables()"


def _repeats(case: AdapterCase) -> None:
    model = case.make()
    weights = model.load(case.tensors[0])
    first = outputs_of(model, weights, case.inputs)
    _same(first, outputs_of(model, weights, case.inputs), "two predictions of one batch differ")
    again = case.make()
    _same(first, outputs_of(again, again.load(case.tensors[0]), case.inputs), "two adapters of one model differ")


def _keeps_checkpoints_apart(case: AdapterCase) -> None:
    model = case.make()
    alone = [outputs_of(model, model.load(tensors), case.inputs) for tensors in case.tensors]
    assert any(not np.array_equal(alone[0][name], alone[1][name]) for name in alone[0]), (
        "the two checkpoints predict the same: use others, or the weights are not used"
    )
    both = [model.load(tensors) for tensors in case.tensors]
    for which in (0, 1, 0, 0, 1):
        found = outputs_of(model, both[which], case.inputs)
        _same(found, alone[which], f"checkpoint {which} predicts otherwise beside another than alone")
    # Outputs that are kept must not change when the next batch is predicted.
    kept = model.predict(both[0], case.inputs)
    model.predict(both[1], case.inputs)
    _same(_host(kept), alone[0], "outputs change when another checkpoint's weights predict")


def _keeps_its_inputs(case: AdapterCase) -> None:
    model = case.make()
    weights = model.load({name: array.copy() for name, array in case.tensors[0].items()})
    inputs = _rows(case.inputs, 0, None)
    model.predict(weights, inputs)
    _same(_host(inputs), _host(case.inputs), "a prediction writes into its inputs")


def _loads_maps(case: AdapterCase) -> None:
    """Load from read-only maps of files, and keep nothing of them: the files may be overwritten afterwards."""
    model = case.make()
    expected = outputs_of(model, model.load(case.tensors[0]), case.inputs)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{number}.bin" for number, name in enumerate(case.tensors[0])}
        maps: dict[str, Array] = {}
        for name, file in files.items():
            array = case.tensors[0][name]
            file.write_bytes(array.tobytes() + b"\0")
            mapped = np.memmap(file, dtype=np.uint8, mode="r", shape=(array.nbytes,))
            maps[name] = mapped.view(array.dtype).reshape(array.shape)
        weights = model.load(maps)
        for file in files.values():
            with file.open("r+b") as opened:
                opened.write(b"\xff" * file.stat().st_size)
        found = outputs_of(model, weights, case.inputs)
        del maps
    _same(found, expected, "weights from a memory-mapped file change when the file is overwritten")


def _keeps_rows_apart(case: AdapterCase) -> None:
    model = case.make()
    weights = model.load(case.tensors[0])
    whole = outputs_of(model, weights, case.inputs)
    count = len(next(iter(_host(case.inputs).values())))
    for size in range(1, count):
        for first in range(0, count, size):
            part = outputs_of(model, weights, _rows(case.inputs, first, first + size))
            for name, array in part.items():
                close = np.allclose(array, whole[name][first : first + size], rtol=TOLERANCE, atol=TOLERANCE)
                assert close, f"rows {first} to {first + size} of {name!r} differ when predicted alone"


def _names_its_environment(case: AdapterCase) -> None:
    model = case.make()
    describing, placeable = capability(model, HasEnvironment), capability(model, OnDevice)
    if describing is not None:
        found = describing.environment()
        assert {"framework", "version", "device", "threads"} <= found.keys(), f"environment() is {found}"
        canonical(found)
    if placeable is None:
        return
    moved = placeable.on("cpu")
    there, here = (outputs_of(each, each.load(case.tensors[0]), case.inputs) for each in (moved, model))
    _same(there, here, "the adapter for the cpu differs")


def _declares_its_arithmetic(case: AdapterCase) -> None:
    """Check what enters keys: plain data that crosses as it is, and that no device changes."""
    model = case.make()
    declaring, again = capability(model, DeclaresArithmetic), capability(case.make(), DeclaresArithmetic)
    if declaring is None or again is None:
        return
    found = declaring.spec()
    assert isinstance(found, dict), f"spec() is {found!r}: expected a dict"
    assert json.loads(canonical(found)) == found, f"spec() does not come back from JSON as it was: {found!r}"
    assert again.spec() == found, "two adapters of one model have different spec()"
    model.predict(model.load(case.tensors[0]), case.inputs)
    assert declaring.spec() == found, "loading and predicting change spec()"
    placeable = capability(model, OnDevice)
    moved = None if placeable is None else capability(placeable.on("cpu"), DeclaresArithmetic)
    assert moved is None or moved.spec() == found, "the adapter for another device has another spec()"


def _names_its_extra(case: AdapterCase) -> None:
    """Import the adapter in a process of its own where the package cannot be imported."""
    if case.needs is None:
        return
    module, package, extra = case.needs
    program = (
        f"import sys, importlib; sys.modules[{package!r}] = None\n"
        "from milepost.errors import MissingExtra\n"
        f"try: importlib.import_module({module!r})\n"
        "except MissingExtra as error: print(error)\n"
    )
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 - our own
    expected = f"pip install 'milepost[{extra}]'"
    assert expected in ran.stdout, f"without {package}, {module} does not say {expected!r}: {ran.stdout}{ran.stderr}"


def outputs_of(model: Model, weights: Any, inputs: Any) -> dict[str, Array]:
    """Return a prediction as NumPy arrays by name ("" where there is one), copied."""
    return {name: array.copy() for name, array in _host(model.predict(weights, _rows(inputs, 0, None))).items()}


def _host(outputs: Any) -> dict[str, Array]:
    named = outputs if isinstance(outputs, Mapping) else {"": outputs}
    return {str(name): _array(item) for name, item in named.items()}


def _array(item: Any) -> Array:
    if hasattr(item, "cpu"):
        # NumPy has no bfloat16 that frameworks hand over; float32 holds every one of its numbers.
        item = (item.float() if str(item.dtype).endswith("bfloat16") else item).cpu()
    return np.asarray(item)


def _rows(inputs: Any, first: int, last: int | None) -> Any:
    if isinstance(inputs, Mapping):
        return {name: array[first:last].copy() for name, array in inputs.items()}
    return inputs[first:last].copy()


def _same(found: Mapping[str, Array], expected: Mapping[str, Array], message: str) -> None:
    assert found.keys() == expected.keys(), message
    for name, array in found.items():
        assert array.dtype == expected[name].dtype, f"{message}: dtype of {name!r}"
        assert array.tobytes() == expected[name].tobytes(), message
