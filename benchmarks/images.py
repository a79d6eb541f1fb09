"""How many JPEGs a second does `Images` decode, beside a PyTorch DataLoader over Pillow with as many workers?

Both read the same folder of 2,000 JPEGs of 400 x 500, made on the spot, in batches of 64, in file order: resize the
shorter side to 256, crop 224, divide by 255, take away the mean, divide by the standard deviation, float32 NCHW.  The
loader's worker processes are kept from pass to pass, and the passes are taken in turn.  Both end with the same numbers,
which is checked.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _figures import Figure, in_turn, main, plain_figure, ratio
from PIL import Image
from torch.utils import data

from milepost.data import Images

COUNT, HEIGHT, WIDTH, BATCH, ROUNDS = 2000, 400, 500, 64, 3
MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]


class Folder(data.Dataset[Any]):
    """What an ImageFolder with the usual transform does, over Pillow alone."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.rglob("*.jpg"))
        names = sorted({path.parent.name for path in self.files})
        self.labels = [names.index(path.parent.name) for path in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.files[index]) as file:
            image = file.convert("RGB")
        short = min(image.size)
        width, height = (256 if side == short else int(256 * side / short) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = round((width - 224) / 2), round((height - 224) / 2)
        pixels = np.array(image.crop((left, top, left + 224, top + 224)))
        scaled = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        return scaled.sub_(MEAN).div_(STD), self.labels[index]


def fill(folder: Path) -> None:
    """Write the JPEGs: smooth shapes with a little grain, about 50 KB each, as photographs of that size are."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype("f4")
    for name in range(10):
        (folder / f"class{name}").mkdir()
    for number in range(COUNT):
        waves = [np.sin(rows * a + columns * b) * 90 + 128 for a, b in rng.random((3, 2)) / 9]
        grain = rng.integers(-16, 17, (HEIGHT, WIDTH, 1), dtype=np.int16)
        pixels = np.clip(np.stack(waves, -1) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"class{number % 10}" / f"{number:05}.jpg", quality=85)


def measure() -> list[Figure]:
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        fill(folder)
        size = statistics.mean(path.stat().st_size for path in folder.rglob("*.jpg"))
        source = Images(folder, order="natural", version="made@1", workers=workers)
        loader = data.DataLoader(Folder(folder), BATCH, num_workers=workers, persistent_workers=True)
        mine, theirs = next(source.batches(0, BATCH, BATCH)), next(iter(loader))
        same = np.array_equal(mine.inputs, theirs[0].numpy()) and np.array_equal(mine.labels, theirs[1].numpy())

        def ours() -> None:
            assert sum(len(batch.labels) for batch in source.batches(0, COUNT, BATCH)) == COUNT

        def peers() -> None:
            assert sum(len(labels) for _, labels in loader) == COUNT

        peer, own = in_turn([peers, ours], ROUNDS)
    gain = ratio(peer, own)
    return [
        Figure("workers of each", str(workers)),
        plain_figure("a file, on average", size / 1024, "KiB", 1),
        Figure("the first batch's numbers are the same", str(same), "True", same),
        plain_figure("PyTorch DataLoader over Pillow", COUNT / statistics.median(peer), "images/s", 0),
        plain_figure("Images", COUNT / statistics.median(own), "images/s", 0),
        Figure("Images beside the DataLoader, median of rounds", f"{gain:.3f} times", "at least 1 times", gain >= 1),
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--few"]:
        COUNT, ROUNDS = 128, 1
        sys.argv.pop(1)
    main("How many JPEGs a second does Images decode?", measure)
