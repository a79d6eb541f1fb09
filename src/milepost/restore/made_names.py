"""What Keras 2 called variables when it made them, held against where the order of layers would put them.

Its object graphs number layers (`layer_with_weights-3`), and keep beside each key the name that the variable was made
with (`dense_7/kernel`).  The numbers alone decide; but where the names say that two layers of one shape have changed
places, neither is believed.
"""

from collections.abc import Iterable, Mapping, Sequence

from milepost._internal.text import listed
from milepost.core.types import Tensor, Variable
from milepost.restore.prefixes import parted

KERAS2 = "keras2"
"""The scheme of names that Keras 2 would give to a model of Keras 3."""
_NUMBERED = "layer_with_weights-"


def displaced(tensors: Mapping[str, Tensor], variables: Sequence[Variable]) -> list[str]:
    """Say which tensors, by the model's names, were made under a name that is another layer's of the model.

    Layers are compared by their ranks among those of one word (`dense_7` before `dense_9`), and only where both sides
    have as many of them; [] where the file has no such names.

    >>> from milepost.core.types import Extent
    >>> def tensor(number, made_as):
    ...     return Tensor(f"layer_with_weights-{number}/kernel", "float32", (2, 2), Extent("a", 0, 16), made_as=made_as)
    >>> names = [Variable(name, None, (2, 2), also=(("keras2", "k"),)) for name in ("dense/kernel", "dense_1/kernel")]
    >>> low, high = "dense_7/kernel", "dense_9/kernel"
    >>> displaced({"dense/kernel": tensor(0, low), "dense_1/kernel": tensor(1, high)}, names)
    []
    >>> displaced({"dense/kernel": tensor(0, high), "dense_1/kernel": tensor(1, low)}, names)[0]
    "layer_with_weights-0/kernel was made as 'dense_9/kernel', which is dense_1 here, but its number is dense/kernel's"
    """
    ordered = {name: item for name, item in tensors.items() if item.made_as and _NUMBERED in item.name}
    if not ordered or not _by_keras_3(variables):
        return []
    partners = _partners([item.made_as for item in ordered.values()], [item.name for item in variables])
    found = []
    for name, item in ordered.items():
        ours = {partners[part] for part in _layers(item.made_as) if part in partners}
        other = sorted(ours.difference(_layers(name)))
        if other:
            made = f"{item.name} was made as {item.made_as[:200]!r}, which is {listed(other)} here"
            found.append(f"{made}, but its number is {name}'s")
    return found


def advice(tensors: Iterable[Tensor], variables: Sequence[Variable]) -> list[str]:
    """Return what to do where a file that Keras 2 wrote, or may have written, does not fit a model of Keras 3."""
    graph = [item.name for item in tensors if item.made_as]
    if not graph or not _by_keras_3(variables):
        return []
    how = "build it by tf_keras: pip install tf_keras, and `import tf_keras as keras` in the evaluation file"
    if any(_NUMBERED in name for name in graph):
        return [f"Keras 2 wrote this file; where Keras 3 has no such model, {how}"]
    return [f"if Keras 2 wrote this file, and Keras 3 has no such model, {how}"]


def _by_keras_3(variables: Sequence[Variable]) -> bool:
    return any(scheme == KERAS2 for item in variables for scheme, _ in item.also)


def _partners(theirs: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
    """Return our name of a layer by theirs, for the words of which both sides have as many layers."""
    left, right = _families(theirs), _families(ours)
    shared = ((left[word], right[word]) for word in left.keys() & right.keys())
    return {a: b for old, new in shared if len(old) == len(new) for a, b in zip(old, new, strict=True)}


def _families(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the layers of each word in order of number, but for those that stand in two places (`bn`, `conv1/bn`)."""
    places: dict[str, set[tuple[str, ...]]] = {}
    for name in names:
        layers = _layers(name)
        for depth, part in enumerate(layers):
            places.setdefault(part, set()).add(tuple(layers[:depth]))
    found: dict[str, set[tuple[int, str]]] = {}
    for part in (part for part, around in places.items() if len(around) == 1):
        word, number = parted(part)
        found.setdefault(word, set()).add((number, part))
    return {word: [part for _, part in sorted(family)] for word, family in found.items()}


def _layers(name: str) -> list[str]:
    return name.split("/")[:-1]
