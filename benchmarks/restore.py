"""What does it cost to read a 400 MB checkpoint: its table, and all its arrays checked and digested?

Each in a process of its own, imports taken out unless they are named; memory is the process's own (RssAnon at the end,
everything held), so that what is mapped from the file does not count.  `torch.load` and safetensors read all tensors
and check nothing.  TensorFlow's reader compares every checksum as ours does, so these two are promised against each
other: every array checked, and summed afterwards, because what is only mapped was not read yet.

The local engine's evaluator maps the file, in process its bytes are read: the one is promised against the other.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _figures import Figure, at_most, main, memory_kib, plain_figure, ratio

MEGABYTES, TENSORS, ROUNDS = 400, 100, 5


WAYS = {
    "pt": {"table": "table only", "restored": "restored, digested", "torch": "torch loads it"},
    "safetensors": {
        "table": "table only",
        "restored": "restored, digested",
        "mapped": "restored from maps, digested",
        "safetensors": "safetensors loads it",
    },
    "index": {
        "table": "table only, every checksum compared",
        "restored": "restored, digested",
        "summed": "every array summed",
        "tensorflow": "TensorFlow reads it, every array summed",
    },
}
"""What is measured, by the ending of the file: each way of reading, and what it is called."""


def make(folder: Path) -> None:
    """Write the same tensors as a torch zip, as safetensors and as a tensor bundle."""
    import torch
    from safetensors.torch import save_file

    rows = MEGABYTES * 1_000_000 // TENSORS // 4096
    tensors = {f"layer{index:03}.weight": torch.randn(rows, 1024) for index in range(TENSORS)}
    torch.save(tensors, folder / "step-1.pt")
    save_file(tensors, folder / "step-1.safetensors")

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    names, values = list(tensors), [tensor.numpy() for tensor in tensors.values()]
    tf.raw_ops.SaveV2(
        prefix=str(folder / "step-1"), tensor_names=names, shape_and_slices=[""] * len(names), tensors=values
    )


def peer(how: str, path: str) -> Callable[[], object]:
    """Import a peer, and return how it reads."""
    if how == "torch":
        import torch

        return lambda: torch.load(path, weights_only=True)  # noqa: TID251 - the peer
    if how == "safetensors":
        from safetensors.torch import load_file

        return lambda: load_file(path)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    def read() -> object:
        reader = tf.train.load_checkpoint(path.removesuffix(".index"))
        held = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
        return held, [array.sum() for array in held.values()]

    return read


def ours(how: str, path: str) -> Callable[[], object]:
    """Import what is needed of Milepost, and return how it reads."""
    from milepost.checkpoints.mapping import map_tensor
    from milepost.checkpoints.reader import Reader
    from milepost.core.types import Variable

    found = Reader().discover([path], None)[0]

    def read() -> object:
        with tempfile.TemporaryDirectory() as spool:
            table = Reader().table(found, spool)
        if how == "table":
            return table
        whole = table
        if how == "summed":
            held = {item.name: map_tensor(item) for item in whole.tensors}
            return held, [array.sum() for array in held.values()]
        from milepost.restore.matching import restore

        variables = [Variable(item.name, item.dtype, item.shape) for item in whole.tensors]
        return restore(whole, variables, "raw", mapped=lambda _: how == "mapped")

    if how in ("restored", "mapped"):
        import milepost.restore.matching  # noqa: F401 - its import is no part of the reading
    return read


def one(how: str, path: str) -> tuple[float, float, float]:
    """Return seconds, MiB, and seconds with imports of one way of reading."""
    started = time.perf_counter()
    read = (ours if how in ("table", "restored", "mapped", "summed") else peer)(how, path)
    before = memory_kib("RssAnon")
    began = time.perf_counter()
    held = read()
    ended = time.perf_counter()
    grown = (memory_kib("RssAnon") - before) / 1024
    del held
    return ended - began, grown, ended - started


def measured(path: str, ways: dict[str, str]) -> dict[str, list[tuple[float, ...]]]:
    """Return what each way took, round by round, each in a process of its own, the first round aside."""
    found: dict[str, list[tuple[float, ...]]] = {way: [] for way in ways}
    for turn in range(ROUNDS + 1):
        for way in ways:
            command = [sys.executable, __file__, "one", way, path]
            done = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            if turn:
                found[way].append(tuple(map(float, done[-3:])))
    return found


def measure() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, __file__, "make", scratch], check=True)
        for end, ways in WAYS.items():
            found = measured(str(Path(scratch, f"step-1.{end}")), ways)
            for way, label in ways.items():
                wall = statistics.median(item[0] for item in found[way])
                memory = statistics.median(item[1] for item in found[way])
                figures.append(plain_figure(f"{end}, {label}: time", 1e3 * wall, "ms", 1))
                figures.append(plain_figure(f"{end}, {label}: own memory", memory, "MiB", 1))
            if "mapped" in found:
                read, mapped = ([item[0] for item in found[way]] for way in ("restored", "mapped"))
                figures.append(at_most(f"{end}, restored, digested, beside maps", ratio(read, mapped), 1.1, "times"))
            if "tensorflow" in found:
                for number, kind in ((0, "imports aside"), (2, "imports included")):
                    mine, theirs = ([item[number] for item in found[way]] for way in ("summed", "tensorflow"))
                    label = f"{end}, every array summed, beside TensorFlow's reader, {kind}"
                    figures.append(at_most(label, ratio(mine, theirs), 1, "times"))
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"]:
        make(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["one"]:
        print(*one(sys.argv[2], sys.argv[3]))
    else:
        main(f"What does a {MEGABYTES} MB checkpoint cost to read?", measure)
