"""Keras' `.keras`: a zip of metadata.json, config.json and model.weights.h5, which is mapped where it is stored.

The architecture in config.json is never built, and its code never run: the model comes from the evaluation file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from milepost._internal.bounded import HEADER_LIMIT, OpenFile, opened, per_file
from milepost._internal.budget import charge
from milepost._internal.json_text import parsed
from milepost._internal.zip import DEFLATED, STORED, ZipEntry, members, peek, unpack, verify
from milepost.checkpoints._codecs.hdf5.window import Window
from milepost.checkpoints._files.facts import flat
from milepost.checkpoints._files.layout import affordable
from milepost.checkpoints.formats._claims import claim_zips
from milepost.checkpoints.formats._keras.table import fetched, table_of
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles, Json, Table, Tensor
from milepost.errors import Corrupt, Unsupported

_WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"
_OURS = frozenset({"metadata.json", _CONFIG, _WEIGHTS})
_CONFIG_LOOK = 1 << 20
_CODE = (b'"Lambda"', b"__lambda__")
_AVERAGING = b'"use_ema": true'


class KerasZip:
    """Reads `.keras` archives, without Keras and h5py."""

    name = "keras_zip"

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim zips that hold Keras' files, by the first entry where the directory is absent."""
        return claim_zips(self.name, entries, _is_keras, _OURS)

    def read(self, files: CheckpointFiles) -> Table:
        """Return the table of the weights within, after comparing their CRC-32; errors as for `.weights.h5`."""
        with opened(files.path) as file:
            entries = members(file)
            window = _window(file)
            if window.unpacked is None:
                verify(file, entries[_WEIGHTS])
            table = table_of(self.name, window, _notes(file, entries))
            return replace(table, averaging=_averaging(file, entries), checksum=True)

    def facts(self, files: CheckpointFiles) -> dict[str, Json]:
        """Return what Keras wrote of itself, and of the model's class, name, loss and optimizer; nothing is built."""
        with opened(files.path) as file:
            entries = members(file)
            about, config = (_json(file, entries, name) for name in ("metadata.json", _CONFIG))
        compiled = config.get("compile_config") or {}
        inner = {"name": _inside(config, "config", "name"), "optimizer": _inside(compiled, "optimizer", "class_name")}
        rate = _inside(compiled, "optimizer", "config", "learning_rate")
        named = {"model": config.get("class_name"), **inner, "learning_rate": rate}
        named |= {key: _inside(compiled, key) for key in ("loss", "metrics")}
        return flat({**about, **{key: value for key, value in named.items() if value is not None}})

    def fetch(self, tensor: Tensor) -> bytes | memoryview:
        """Return the bytes of an array that is not stored as it is."""
        return fetched(tensor, _window)


def _json(file: OpenFile, entries: dict[str, ZipEntry], name: str) -> dict[str, Json]:
    """Return a JSON object in the archive; {} where it is absent, too large or damaged."""
    item = entries.get(name)
    if item is None or item.size > HEADER_LIMIT or not affordable(item.size, file.size):
        return {}
    charge(made=item.size)
    try:
        held = parsed(unpack(file, item))
    except (ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


def _inside(value: Json, *keys: str) -> Json:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _is_keras(names: Sequence[str]) -> bool:
    return _WEIGHTS in names or {"metadata.json", _CONFIG} <= set(names)


def _window(file: OpenFile) -> Window:
    item = members(file).get(_WEIGHTS)
    if item is None:
        what = f"a Keras archive without {_WEIGHTS}"
        raise Unsupported(f"{file.path}: {what}; save it with weights in HDF5, as Keras does")
    if item.method == STORED:
        return Window(file, item.offset, item.size)
    if not affordable(item.size, file.size):
        raise Corrupt(f"{file.path}: {file.size:,} bytes would unpack to {item.size:,}: a bomb, not read")
    return Window(file, 0, item.size, _unpacked(file.path))


@per_file(1)
def _unpacked(path: str) -> bytes:
    with opened(path) as file:
        return unpack(file, members(file)[_WEIGHTS])


def _averaging(file: OpenFile, entries: dict[str, ZipEntry]) -> bool:
    item = entries.get(_CONFIG)
    readable = item is not None and item.method in (STORED, DEFLATED)
    return item is not None and readable and _AVERAGING in peek(file, item, _CONFIG_LOOK)


def _notes(file: OpenFile, entries: dict[str, ZipEntry]) -> Iterator[str]:
    yield f"weights only: the architecture in {_CONFIG} is not built"
    item = entries.get(_CONFIG)
    if item is not None and item.method in (STORED, DEFLATED):
        found = peek(file, item, _CONFIG_LOOK)
        if any(mark in found for mark in _CODE):
            yield f"{_CONFIG} names Lambda layers, which may hold code: none of it was run"
