"""Do budgets against hostile files hurt honest large ones?

The table of each is read in a process of its own, found and checked, three times: the least processor time, and
the largest size in memory.
`--beside FOLDER` reads each file with the source of another checkout too, in turn, and gives the ratios.
"""

import json
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _figures import ROOT, Figure, at_most, main, plain_figure

ROUNDS = 2
GIGABYTES, TENSORS = 2, 20_000


def safetensors(path: Path) -> None:
    """Write 2 GB in 400 tensors, sparse: its table is read, its values are not."""
    count, size = 400, GIGABYTES * 1_000_000_000 // 400 // 4096 * 4096
    row = {"dtype": "F32", "shape": [size // 4096, 1024]}
    header = {f"model.layers.{n}.weight": {**row, "data_offsets": [n * size, n * size + size]} for n in range(count)}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + count * size)


def torch_zip(path: Path) -> None:
    import torch

    torch.save(
        {f"model.blocks.{n // 10}.part{n % 10}.weight": torch.full((8,), float(n)) for n in range(TENSORS)}, path
    )


def torch_legacy(path: Path) -> None:
    import torch

    held = {f"model.blocks.{n // 10}.part{n % 10}.weight": torch.full((8,), float(n)) for n in range(TENSORS)}
    torch.save(held, path, _use_new_zipfile_serialization=False)


def optimizer(path: Path) -> None:
    """Write 5,000 parameters with Adam's state under names of 200 characters."""
    import torch

    names = [f"module.encoder.{'inner_block.' * 14}{n:05}.weight" for n in range(TENSORS // 4)]
    state = {name: {"step": torch.tensor(3.0), "exp_avg": torch.ones(4), "exp_avg_sq": torch.ones(4)} for name in names}
    groups = [{"lr": 0.1, "params": names}]
    model = {name: torch.ones(4) for name in names}
    torch.save({"model": model, "optimizer": {"state": state, "param_groups": groups}, "epoch": 3}, path)


def npz(path: Path) -> None:
    np.savez_compressed(path, **{f"layer{n}/kernel": np.full((4, 4), n, "f4") for n in range(TENSORS)})  # type: ignore[arg-type]


def bundle(path: Path) -> None:
    sys.path.insert(0, str(ROOT))
    from tests.checkpoints import _tf_writer

    names = [f"model/layer_with_weights-{n}/kernel/.ATTRIBUTES/VARIABLE_VALUE" for n in range(TENSORS)]
    _tf_writer.write_bundle(path, {name: np.full(4, n, "f4") for n, name in enumerate(names)})


FILES = {
    "2 GB of safetensors": ("a.safetensors", safetensors),
    "torch, 20,000 tensors": ("a.pt", torch_zip),
    "torch before 1.6, 20,000 tensors": ("b.pt", torch_legacy),
    "torch, an optimizer with long names": ("c.pt", optimizer),
    "npz, 20,000 arrays": ("a.npz", npz),
    "a bundle of 20,000 variables": ("a.index", bundle),
}

READ = """
import os, resource, sys, tempfile
from pathlib import Path
from milepost.checkpoints.reader import Reader
reader, times = Reader(), []

def used():
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime

for turn in range(3):
    os.utime(sys.argv[1], (turn, turn))  # nothing that was kept of the file is used again
    began = used()
    with tempfile.TemporaryDirectory() as spool:
        reader.table(reader.discover([sys.argv[1]])[0], spool)
    times.append(used() - began)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(min(times), int(status["VmHWM"].split()[0]) / 1024)
"""


def read(path: Path, source: Path) -> tuple[float, float]:
    """Return the processor seconds and the MiB of reading a table with the source of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(source / "src")}
    command = [sys.executable, "-c", READ, str(path)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()
    return float(done[0]), float(done[1])


def measure() -> list[Figure]:
    figures: list[Figure] = []
    other = Path(sys.argv[sys.argv.index("--beside") + 1]) if "--beside" in sys.argv else None
    with tempfile.TemporaryDirectory() as scratch:
        for what, (name, write) in FILES.items():
            path = Path(scratch, name)
            write(path)
            sources = [ROOT, *([other] if other else [])]
            rounds = [[read(path, source) for source in sources] for _ in range(ROUNDS)]
            mine = [one[0] for one in rounds]
            figures.append(plain_figure(f"{what}: processor", statistics.median(one[0] for one in mine), "s", 2))
            figures.append(plain_figure(f"{what}: memory", statistics.median(one[1] for one in mine), "MiB", 0))
            if other:
                for number, kind in enumerate(("processor", "memory")):
                    ratio = min(one[0][number] for one in rounds) / min(one[1][number] for one in rounds)
                    figures.append(at_most(f"{what}: {kind} beside before", ratio, 1.05, "times"))
    return figures


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main("Do budgets against hostile files hurt honest large ones?", measure)
