"""Our own HDF5 reader beside h5py, which it replaced: tables of 5,000 layers, 400 MB of values, what each weighs.

Times are processor seconds, least of several in turn; memory is by how much a fresh process' peak grows.  h5py does
what Milepost had it do: a walk that asks each object for its type, place, links and texts.  Values are summed: ours are
mapped where they lie, or unpacked from their chunks.
"""

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from _figures import ROOT, Figure, at_most, main, plain_figure

from milepost._internal.bounded import opened
from milepost.checkpoints._codecs.hdf5.tree import tree
from milepost.checkpoints._codecs.hdf5.window import whole
from milepost.checkpoints.discovery import find
from milepost.checkpoints.formats.keras_h5 import KerasH5
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import read_table

LAYERS, ROUNDS = 5000, 5
LARGE = (10_000, 10_000)
MOST = 1.05

WEIGHED = """
import sys
sys.path.insert(0, {benchmarks!r})
import hdf5
from _figures import memory_kib
before = memory_kib("VmHWM")
hdf5.{function}({path!r})
print(memory_kib("VmHWM") - before)
"""


def layers(path: str, version: str) -> None:
    """Write a file as Keras 3 does, of many layers."""
    with h5py.File(path, "w", libver=version) as file:
        for number in range(LAYERS):
            group = file.create_group(f"layers/dense_{number}/vars")
            group.attrs["name"] = f"dense_{number}"
            group["0"], group["1"] = np.full((4, 3), number, "f4"), np.zeros(3, "f4")


def large(path: str, **how: object) -> None:
    """Write 400 MB of values as a trained layer has them."""
    with h5py.File(path, "w") as file:
        values = np.random.default_rng(0).standard_normal((LARGE[0] // 10, LARGE[1])).astype("f4")
        data = file.create_dataset("w", LARGE, "f4", **how)
        for start in range(0, LARGE[0], len(values)):
            data[start : start + len(values)] = values


def table_of_h5py(path: str) -> int:
    """Walk through a file by h5py's lowest level; return how many datasets there are."""
    found = []
    with h5py.File(path) as file:
        waiting = [("", file.id)]
        while waiting:
            place, group = waiting.pop()
            texts: list[bytes] = []
            h5py.h5a.iterate(group, texts.append)
            for text in texts:
                attribute = h5py.h5a.open(group, text)
                attribute.read(np.empty(attribute.shape, attribute.dtype))
            names: list[bytes] = []
            group.links.iterate(names.append)
            for name in sorted(names):
                assert group.links.get_info(name).type == h5py.h5l.TYPE_HARD
                item = h5py.h5o.open(group, name)
                address = h5py.h5o.get_info(item).addr
                if isinstance(item, h5py.h5g.GroupID):
                    waiting.append((f"{place}/{name.decode()}", item))
                    continue
                plan = item.get_create_plist()
                assert plan.get_layout() == h5py.h5d.CONTIGUOUS
                assert not plan.get_external_count()
                item.get_space().get_simple_extent_type()
                kind = item.get_type()
                assert h5py.h5t.py_create(np.dtype(item.dtype), logical=True) == kind
                found.append((place, name, item.shape, item.dtype, item.get_offset(), item.get_storage_size(), address))
    return len(found)


def table_of_ours(path: str) -> int:
    """Do the same with our own reader."""
    with opened(path) as file:
        return len(tree(whole(file)).datasets)


def values_of_h5py(path: str) -> float:
    """Sum 400 MB."""
    with h5py.File(path) as file:
        return float(file["w"][()].sum())


def values_of_ours(path: str) -> float:
    """Do the same with our own reader."""
    form = KerasH5()
    (tensor,) = read_table(form, find([path])[0]).tensors
    if tensor.where.encoding == "raw":
        return float(map_tensor(tensor).sum())
    return float(np.frombuffer(form.fetch(tensor), "f4").reshape(tensor.shape).sum())


def cpu(function: Callable[[str], object], path: str) -> float:
    """Return the processor seconds of a call."""
    began = time.process_time()
    function(path)
    return time.process_time() - began


def beside(
    what: str, path: str, most: float, ours: Callable[[str], object], theirs: Callable[[str], object]
) -> list[Figure]:
    """Time both in turn, and weigh them: what each takes, and our share of the other's time."""
    assert ours(path) == theirs(path)
    pairs = [(cpu(ours, path), cpu(theirs, path)) for _ in range(ROUNDS)]
    least = [min(times) for times in zip(*pairs, strict=True)]
    weights = [memory(path, one.__name__) for one in (ours, theirs)]
    return [
        Figure(what, f"{least[0]:.2f} s, h5py {least[1]:.2f} s"),
        Figure(f"{what}: memory", f"{weights[0]:.0f} MiB, h5py {weights[1]:.0f} MiB"),
        at_most(f"{what}: time beside h5py", statistics.median(mine / other for mine, other in pairs), most, "times"),
    ]


def memory(path: str, function: str) -> float:
    """Return the MiB by which a call raises the peak of a fresh process."""
    program = WEIGHED.format(benchmarks=str(Path(__file__).parent), function=function, path=path)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def lines(folder: Path) -> int:
    """Return the lines of a folder's Python files."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.glob("*.py"))


def installed(package: str) -> float:
    """Return the MB that a package takes where it is installed, with the libraries that its wheel brings."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    own = Path(spec.origin).parent
    folders = [own, own.with_name(f"{package}.libs")]
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()) / 1e6


def figures() -> list[Figure]:
    """Measure tables, values, lines and megabytes."""
    made: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.weights.h5")
        for version in ("earliest", "latest"):
            layers(path, version)
            made += beside(f"table of {LAYERS:,} layers, {version}", path, MOST, table_of_ours, table_of_h5py)
        packed = {"chunks": True, "compression": 1}
        for what, most, how in (
            ("in one piece", MOST, {}),
            ("in chunks, deflated", 2, packed),
            ("in chunks, shuffled, deflated, Fletcher-32", 2, {**packed, "shuffle": True, "fletcher32": True}),
        ):
            large(path, **how)
            made += beside(f"400 MB {what}", path, most, values_of_ours, values_of_h5py)
    own = ROOT / "src" / "milepost" / "checkpoints" / "_codecs" / "hdf5"
    made.append(plain_figure("lines of our own reader", lines(own), "lines", 0))
    made.append(
        plain_figure("what it adds to an install", sum(one.stat().st_size for one in own.glob("*.py")) / 1e6, "MB")
    )
    made.append(plain_figure("what h5py added", installed("h5py"), "MB"))
    return made


if __name__ == "__main__":
    main("What does reading HDF5 by ourselves cost, beside h5py?", figures)
