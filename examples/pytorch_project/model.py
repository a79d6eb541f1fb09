"""A small convolutional network for the 8 x 8 digits."""

from torch import Tensor, nn


class DigitsNet(nn.Module):
    """Two convolutions, batch normalisation, dropout: logits of 10 classes."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(2 * width * 16, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))
