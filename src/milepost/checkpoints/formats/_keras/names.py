"""What the datasets of Keras' HDF5 files are called and are for, and which one counts the optimizer's steps.

Two layouts: that of Keras 3 (and of tf_keras' `.keras`), whose paths follow the model's structure
(`layers/dense/vars/0`), and the older one, which lists layers and their weights by name in attributes.
Anything else in HDF5 keeps its own paths.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from milepost._internal.text import natural
from milepost.checkpoints._codecs.hdf5.datasets import Hdf5Dataset
from milepost.checkpoints._codecs.hdf5.tree import Tree
from milepost.checkpoints._files.roles import role_of
from milepost.core.types import Role
from milepost.errors import Corrupt

_SEED = re.compile(r"seed_generator(?:_\d+)?")
_COUNTED = re.compile(r"_?(?:compile_)?metrics|_?loss_tracker")
_ITERATIONS = re.compile(r"iter(?:ations?)?(?:_\d+)?(?::\d+)?")
_LEGACY_PLACES = ("model_weights", "")
_OPTIMIZER = "optimizer_weights"
_STEP = "optimizer/vars/0"
_OUTPUT = re.compile(r":\d+$")


@dataclass(frozen=True, slots=True)
class NamedDataset:
    """A dataset, by the name and group under which a table lists it."""

    dataset: Hdf5Dataset
    name: str
    role: Role
    group: str = ""


def named(tree: Tree, path: str) -> list[NamedDataset]:
    """Return every dataset of a file with its name and role, those of layers in the order in which they were saved."""
    place = next((one for one in _LEGACY_PLACES if tree.listed(one, "layer_names") is not None), None)
    if place is None:
        ordered = sorted(tree.datasets.items(), key=lambda pair: [natural(part) for part in pair[0].split("/")])
        return [NamedDataset(item, name, _role(tree, name)) for name, item in ordered]
    found = list(_legacy(tree, place, path))
    taken = {item.dataset.path for item in found}
    rest = [item for name, item in tree.datasets.items() if name not in taken]
    return found + [NamedDataset(item, item.path, "bookkeeping") for item in rest]


def counts_steps(item: NamedDataset) -> bool:
    """Return whether a dataset is the optimizer's count of steps: one integer, where Keras puts it."""
    held = item.dataset
    if item.role != "optimizer" or held.dtype is None or held.dtype.kind not in "iu" or held.shape != ():
        return False
    return item.name == _STEP or (item.group == _OPTIMIZER and bool(_ITERATIONS.fullmatch(item.name.split("/")[-1])))


def _role(tree: Tree, name: str) -> Role:
    parts = name.split("/")
    if _COUNTED.fullmatch(parts[0]) or any(_SEED.fullmatch(part) for part in parts):
        return "bookkeeping"
    called = tree.texts.get("/".join(parts[:-1]), {}).get("name", [])
    if parts[-2:-1] == ["vars"] and any(_SEED.fullmatch(text) for text in called):
        return "bookkeeping"
    return role_of("", name)


def _legacy(tree: Tree, place: str, path: str) -> Iterator[NamedDataset]:
    head = f"{place}/" if place else ""
    layers = [*(tree.listed(place, "layer_names") or []), "top_level_model_weights"]
    seen: set[str] = set()
    for layer in dict.fromkeys(layers):
        for weight in tree.listed(f"{head}{layer}", "weight_names") or []:
            name = shortened(layer, weight)
            if name in seen:
                name = f"{layer}/{plain(weight)}"
            if name in seen:
                raise Corrupt(f"{path}: two weights of layer {layer[:80]!r} are named {weight[:80]!r}")
            seen.add(name)
            yield NamedDataset(_required(tree, f"{head}{layer}/{weight}", path), name, "weights")
    for weight in tree.listed(_OPTIMIZER, "weight_names") or []:
        held = _required(tree, f"{_OPTIMIZER}/{weight}", path)
        yield NamedDataset(held, plain(weight), "optimizer", _OPTIMIZER)


def shortened(layer: str, weight: str) -> str:
    """Return a weight's name from its layer's on, which comes first where it is not in there.

    >>> shortened("dense", "net/dense/kernel:0"), shortened("encoder", "dense/kernel:0")
    ('dense/kernel', 'encoder/dense/kernel')
    """
    name = plain(weight)
    place = f"/{name}".find(f"/{layer}/")
    return name[place:] if place >= 0 else f"{layer}/{name}"


def plain(weight: str) -> str:
    """Return a name without TensorFlow's number of an output."""
    return _OUTPUT.sub("", weight)


def _required(tree: Tree, place: str, path: str) -> Hdf5Dataset:
    if place not in tree.datasets:
        raise Corrupt(f"{path}: damaged: it lists {place[:120]!r}, and there is no such dataset")
    return tree.datasets[place]
