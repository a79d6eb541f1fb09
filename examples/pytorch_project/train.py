"""Train for some epochs and leave a checkpoint after each: `python train.py [EPOCHS]`, into runs/digits/."""

import shutil
import sys
from pathlib import Path

import torch
from data import make_loader
from model import DigitsNet
from torch import nn
from torch.nn import functional

RUN = Path("runs/digits")


def validate(model, loader):
    """Return the accuracy: the mean over batches."""
    model.eval()
    with torch.no_grad():
        batches = [(model(images).argmax(1) == labels).float().mean() for images, labels in loader]
    return torch.stack(batches).mean().item()


def train_one_epoch(model, loader, optimizer):
    """Pass once over the training data."""
    model.train()
    for images, labels in loader:
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()


def main(epochs=6):
    """Train, validate and save; `last.pt` and `best.pt` are copies, as many trainers make them."""
    torch.manual_seed(0)
    RUN.mkdir(parents=True, exist_ok=True)
    model = nn.DataParallel(DigitsNet())  # puts `module.` before every name, as DistributedDataParallel does
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    best = 0.0
    for epoch in range(1, epochs + 1):
        train_one_epoch(model, make_loader(train=True), optimizer)
        accuracy = validate(model, make_loader(train=False))
        file = RUN / f"epoch_{epoch:02}.pt"
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}, file)
        shutil.copyfile(file, RUN / "last.pt")
        if accuracy > best:
            best = accuracy
            shutil.copyfile(file, RUN / "best.pt")
        print(f"epoch {epoch:2}  validation accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
