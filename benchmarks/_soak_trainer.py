"""The trainer of soak.py, a process of its own: writes checkpoints, deletes old ones, waits for nobody.

Words: folder, format, steps, milliseconds of training a step, milliseconds of pause a piece (0: written whole and
renamed), the step after which it starts again from half of it (0: never), and 1 for a `last` that is overwritten.
A restarted trainer has another seed, so that its steps are other checkpoints.
"""

import io
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

KEEP, PIECE = 5, 65536
SUFFIXES = {
    "npz": "npz",
    "torch-zip": "pt",
    "torch-legacy": "pth",
    "safetensors": "safetensors",
    "safetensors-renamed": "safetensors",
    "tf1": "index",
    "tf2": "index",
}


def made(step: int, life: int) -> dict[str, Any]:
    """Return the tensors of one checkpoint: `mark` tells which it is, `rest` makes it several pieces long."""
    rng = np.random.default_rng([step, life])
    w, b = rng.normal(size=(8, 10)).astype("f4"), rng.normal(size=10).astype("f4")
    rest = np.full(5 * PIECE // 8, step + 1000 * life, "f4")
    return {"w": w, "b": b, "mark": np.asarray(step + 1000 * life), "rest": rest}


class Slow(io.RawIOBase):
    """A file that takes 64 KiB at a time and a pause after each; it has no descriptor to be written past it."""

    def __init__(self, path: str, pause: float) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed below
        self._pause = pause

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for at in range(0, len(view), PIECE):
            self._file.write(view[at : at + PIECE])
            if len(view) >= PIECE // 2:
                time.sleep(self._pause)
        return len(view)

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


def write(kind: str, file: Any, tensors: dict[str, Any]) -> None:
    """Have a format's own writer write to a file, in its own order."""
    if kind == "npz":
        np.savez(file, **tensors)
    elif kind.startswith("torch"):
        import torch  # noqa: PLC0415 - not needed for the other formats

        saved = {name: torch.from_numpy(item) for name, item in tensors.items()}
        torch.save(saved, file, _use_new_zipfile_serialization=kind == "torch-zip")
    else:
        import safetensors.numpy  # noqa: PLC0415 - the same

        file.write(safetensors.numpy.save(tensors))


class Trainer:
    """Trains and keeps the last few checkpoints."""

    def __init__(self, folder: str, kind: str, train: float, pause: float) -> None:
        self._folder = Path(folder)
        self._kind = kind
        self._train = train
        self._pause = pause
        self._written: list[int] = []

    def train(self) -> None:
        """Use the processor as training does."""
        until = time.monotonic() + self._train
        weights = np.ones((200, 200), "f4")
        while time.monotonic() < until:
            weights = np.tanh(weights @ weights)

    def save(self, name: str, step: int, life: int) -> None:
        """Write one checkpoint: in place and slowly, or beside and renamed."""
        if SUFFIXES[self._kind] == "index":
            self._save_bundle(name, made(step, life))
            return
        name = f"{name}.{SUFFIXES[self._kind]}"
        renamed = not self._pause or self._kind == "safetensors-renamed"
        place = self._folder / (f".tmp{name}" if renamed else name)
        with Slow(str(place), self._pause) if self._pause else place.open("wb") as file:
            write(self._kind, file, made(step, life))
        if renamed:
            place.rename(self._folder / name)

    def _save_bundle(self, name: str, tensors: dict[str, Any]) -> None:
        """Write TensorFlow's files in the order of its Saver (tf1) or of TF 2, without TensorFlow."""
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
        from tests.checkpoints._tf_writer import bundle, slowly  # noqa: PLC0415 - not needed for the other formats

        files = bundle(name, {key: np.asarray(item) for key, item in tensors.items()}, shards=2)
        slowly(
            self._folder / name, files, lambda: time.sleep(self._pause), renamed=self._kind == "tf1", piece=PIECE
        )  # fmt: skip

    def step(self, step: int, life: int, *, last: bool) -> None:
        """Do one step: train, save, delete what is too old."""
        self.train()
        self.save(f"step-{step}", step, life)
        if last:
            self.save("last", step, life)
        self._written = [old for old in self._written if old != step] + [step]
        for old in self._written[:-KEEP]:
            for path in self._folder.glob(f"step-{old}.*"):
                path.unlink()
        self._written = self._written[-KEEP:]


def order(steps: int, back: int) -> list[tuple[int, int]]:
    """Return (step, life) of every checkpoint that a trainer writes, in its order.

    >>> order(4, 2)
    [(1, 0), (2, 0), (2, 1), (3, 1), (4, 1)]
    """
    first = [(step, 0) for step in range(1, (back or steps) + 1)]
    return first + [(step, 1) for step in range(back // 2 + 1, steps + 1)] if back else first


def main() -> None:
    folder, kind, steps, train, pause, back, last = sys.argv[1:]
    trainer = Trainer(folder, kind, float(train) / 1000, float(pause) / 1000)
    for step, life in order(int(steps), int(back)):
        trainer.step(step, life, last=last == "1")
    Path(folder, "DONE").touch()


if __name__ == "__main__":
    main()
