"""scikit-learn's digits as PyTorch data sets: 1437 images for training, 360 held out."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset


class Digits(Dataset):
    """Images [1, 8, 8] from 0 to 1, with the digit; training images are shifted at random by up to a pixel."""

    def __init__(self, train: bool) -> None:
        digits = load_digits()
        rows = np.random.RandomState(0).permutation(1797)
        rows = rows[:1437] if train else rows[1437:]
        self.images = torch.from_numpy(digits.images[rows].astype(np.float32) / 16)[:, None]
        self.labels = torch.from_numpy(digits.target[rows])
        self.train = train

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self.images[index]
        if self.train:
            down, right = torch.randint(-1, 2, (2,)).tolist()
            image = torch.roll(image, (down, right), (1, 2))
        return image, int(self.labels[index])


def make_loader(train: bool, batch_size: int = 64) -> DataLoader:
    """Return a loader; shuffled, and without the short last batch, as it was copied from somewhere."""
    return DataLoader(Digits(train), batch_size=batch_size, shuffle=True, drop_last=True)
