"""What does it cost to read a 400 MB checkpoint: its table, and all its arrays checked and digested?

Each in a process of its own, imports taken out; memory is the process's own (RssAnon at the end, everything held), so
that what is mapped from the file does not count.  `torch.load` and safetensors read all tensors and check nothing.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _figures import Figure, main, memory_kib, told

MEGABYTES, TENSORS, ROUNDS = 400, 100, 5


def make(folder: Path) -> None:
    """Write the same tensors as a torch zip and as safetensors."""
    import torch
    from safetensors.torch import save_file

    rows = MEGABYTES * 1_000_000 // TENSORS // 4096
    tensors = {f"layer{index:03}.weight": torch.randn(rows, 1024) for index in range(TENSORS)}
    torch.save(tensors, folder / "step-1.pt")
    save_file(tensors, folder / "step-1.safetensors")


def one(how: str, path: str) -> tuple[float, float]:
    """Return seconds and MiB of one way of reading."""
    if how in ("torch", "safetensors"):
        import torch
        from safetensors.torch import load_file

        read = (lambda: torch.load(path, weights_only=True)) if how == "torch" else (lambda: load_file(path))  # noqa: TID251 - the peer
    else:
        from milepost.checkpoints.reader import Reader
        from milepost.core import Table, Variable
        from milepost.plain import from_plain
        from milepost.restore import restore

        found = Reader().discover([path], None)[0]

        def read() -> object:
            with tempfile.TemporaryDirectory() as spool:
                table = Reader().table(found, spool)
            if how == "table":
                return table
            whole = from_plain(Table, table)
            variables = [Variable(item.name, item.dtype, item.shape) for item in whole.tensors]
            return restore(whole, variables, "raw")

    before = memory_kib("RssAnon")
    began = time.perf_counter()
    held = read()
    spent = time.perf_counter() - began
    grown = (memory_kib("RssAnon") - before) / 1024
    del held
    return spent, grown


def measure() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, __file__, "make", scratch], check=True)
        for end in ("pt", "safetensors"):
            path = str(Path(scratch, f"step-1.{end}"))
            ways = ("table", "restored", "torch" if end == "pt" else "safetensors")
            found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            for turn in range(ROUNDS + 1):
                for way in ways:
                    command = [sys.executable, __file__, "one", way, path]
                    done = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
                    if turn:
                        found[way].append((float(done[0]), float(done[1])))
            for way, label in zip(ways, ("table only", "restored, digested", f"{ways[2]} loads it"), strict=True):
                wall = statistics.median(seconds for seconds, _ in found[way])
                memory = statistics.median(mib for _, mib in found[way])
                figures.append(told(f"{end}, {label}: time", 1e3 * wall, "ms", 1))
                figures.append(told(f"{end}, {label}: own memory", memory, "MiB", 1))
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"]:
        make(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["one"]:
        print(*one(sys.argv[2], sys.argv[3]))
    else:
        main(f"What does a {MEGABYTES} MB checkpoint cost to read?", measure)
