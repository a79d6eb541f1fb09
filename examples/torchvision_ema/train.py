"""A trainer as torchvision's reference scripts are, with averaged weights: `python train.py [EPOCHS]`.

Each `runs/digits/model_N.pth` holds the weights under `model`, and their averages under `model_ema`, as
`AveragedModel` names them.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

RUN = Path("runs/digits")


def make_data(train):
    """Return scikit-learn's digits: 1437 images for training, 360 held out."""
    digits = load_digits()
    rows = np.random.RandomState(0).permutation(1797)
    rows = rows[:1437] if train else rows[1437:]
    images = torch.from_numpy(digits.images[rows].astype(np.float32) / 16)[:, None]
    return TensorDataset(images, torch.from_numpy(digits.target[rows]))


def make_model():
    """Return a small convolutional network with batch normalisation: logits of 10 classes."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)
    )


def main(epochs=5):
    """Train, average the weights after each step, and save after each epoch."""
    torch.manual_seed(0)
    RUN.mkdir(parents=True, exist_ok=True)
    model = make_model()
    model_ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.95), use_buffers=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    loader = DataLoader(make_data(train=True), batch_size=64, shuffle=True)
    for epoch in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            model_ema.update_parameters(model)
        saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        torch.save(saved | {"model_ema": model_ema.state_dict()}, RUN / f"model_{epoch}.pth")
        print(f"epoch {epoch} saved")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
