"""What an HDF5 file holds: a walk through its groups that comes to each object once and reads no values.

Whatever could lead elsewhere is refused: soft and external links, external storage, virtual datasets.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from milepost._internal.bounded import COUNT_LIMIT
from milepost._internal.budget import charge
from milepost.checkpoints._codecs.hdf5.attributes import texts
from milepost.checkpoints._codecs.hdf5.datasets import Hdf5Dataset, dataset, is_dataset
from milepost.checkpoints._codecs.hdf5.groups import HARD, is_group, links
from milepost.checkpoints._codecs.hdf5.headers import Header, header
from milepost.checkpoints._codecs.hdf5.heaps import GlobalHeaps
from milepost.checkpoints._codecs.hdf5.superblock import root_of
from milepost.checkpoints._codecs.hdf5.window import Window
from milepost.checkpoints._files.checks import NAME_LIMIT
from milepost.errors import Corrupt

_DEPTH = 64
_OBJECT = 1024
"""Bytes that a group or dataset takes in memory beside its messages."""

_READ = re.compile(r"name|backend|keras_version|(?:layer|weight)_names\d*")
"""Attributes of groups that are read; the model's config is not among them."""


@dataclass(slots=True)
class Tree:
    """What a file holds: datasets by path, and the texts of the attributes that Keras gives to groups."""

    datasets: dict[str, Hdf5Dataset] = field(default_factory=dict)
    texts: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def listed(self, group: str, name: str) -> list[str] | None:
        """Return a list of names, which Keras may have split into `name0`, `name1`, ...; None where there is none."""
        held = self.texts.get(group, {})
        if name in held:
            return held[name]
        parts = [held[f"{name}{number}"] for number in range(len(held)) if f"{name}{number}" in held]
        return [item for part in parts for item in part] if parts else None


def tree(window: Window) -> Tree:
    """Return what an HDF5 file holds, checked; no values are read.

    Raises `Torn` where it is not whole, `Corrupt` where it is damaged or leads out of itself, and `Unsupported` where
    it uses what is not read.
    """
    walk = _Walk(window)
    walk.run()
    if not walk.tree.datasets:
        raise Corrupt(f"{window.file.path}: an HDF5 file without any dataset")
    return walk.tree


class _Walk:
    """Goes through a file's groups, each object once."""

    def __init__(self, window: Window) -> None:
        self._blocks, self._root = root_of(window)
        self._heaps = GlobalHeaps(self._blocks)
        self._path = window.file.path
        self._seen: set[int] = set()
        self.tree = Tree()

    def run(self) -> None:
        root = self._opened(self._root, "/")
        if not is_group(root):
            raise self._blocks.fault("its root is no group")
        waiting = [("", root)]
        while waiting:
            path, group = waiting.pop()
            named = dict(texts(self._blocks, self._heaps, group, _READ))
            if named:
                self.tree.texts[path] = named
            for name, item in self._members(group, path):
                if is_group(item):
                    if name.count("/") >= _DEPTH:
                        raise Corrupt(f"{self._path}: groups are nested more than {_DEPTH} deep at {name[:80]!r}")
                    waiting.append((name, item))
                elif is_dataset(item):
                    self.tree.datasets[name] = dataset(self._blocks, self._heaps, item, name)
                else:
                    raise Corrupt(f"{self._path}: {name!r} is neither a group nor a dataset; Keras writes no such file")

    def _members(self, group: Header, path: str) -> Iterator[tuple[str, Header]]:
        for link in links(self._blocks, group):
            try:
                own = link.name.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self._blocks.fault(f"a name in {path[:80]!r} is not UTF-8: {link.name[:80]!r}") from error
            name = f"{path}/{own}" if path else own
            if len(name) > NAME_LIMIT:
                raise Corrupt(f"{self._path}: a name of more than {NAME_LIMIT:,} characters: {name[:80]!r}...")
            if link.kind != HARD:
                raise Corrupt(
                    f"{self._path}: {name!r} is {link.kind} link: it can lead anywhere, and "
                    "Keras never writes one; Milepost did not follow it"
                )
            if link.address is None:
                raise self._blocks.fault(f"{name!r} leads nowhere")
            yield name, self._opened(link.address, name)

    def _opened(self, address: int, name: str) -> Header:
        if address in self._seen:
            what = f"{name!r} is a second name of another object, as in a circle"
            raise Corrupt(f"{self._path}: {what}; Keras writes none")
        charge(made=_OBJECT + len(name))
        self._seen.add(address)
        if len(self._seen) > COUNT_LIMIT:
            raise Corrupt(f"{self._path}: more than {COUNT_LIMIT:,} groups and datasets")
        return header(self._blocks, address)
