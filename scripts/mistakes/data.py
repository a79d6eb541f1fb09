"""Mistakes of held-out data."""

from scripts.mistakes._mistake import File, Mistake

_RANDOM_CROP = """\
class Shifted(torch.utils.data.Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        shift = int(torch.randint(-1, 2, ()))  # the random crop of training
        return torch.roll(torch.from_numpy(self.images[index]), shift), int(self.labels[index])
"""

MISTAKES = (
    Mistake(
        title="Another preprocessing than in training",
        wrong="The model was trained on pixels from 0 to 1, and is given pixels from -1 to 1. The number looks "
        "like one.",
        setup="""\
from sklearn.datasets import load_digits
digits = load_digits()
pixels, labels = digits.data.astype(np.float32), digits.target
train, test = slice(0, 1000), slice(1000, None)
means = np.stack([(pixels[train][labels[train] == digit] / 16).mean(axis=0) for digit in range(10)])
model = nn.Linear(64, 10)  # the nearest mean of a class
model.weight.data, model.bias.data = torch.from_numpy(means), torch.from_numpy(-(means**2).sum(axis=1) / 2)
save(model)
rows((pixels[test] / 16 - 0.5) / 0.5, labels[test])
images, labels = torch.from_numpy(pixels[test] / 16), torch.from_numpy(labels[test])
""",
        habit="""\
for name, given in (("normalised", (images - 0.5) / 0.5), ("as in training", images)):
    right = (model(given).argmax(1) == labels).sum().item()
    print(f"{name}: {right} of {len(labels)} right, {right / len(labels):.3f}")
""",
        file=File(model="TorchModel(lambda: nn.Linear(64, 10))"),
        commands=("milepost run eval.py runs", "milepost show 1"),
        lines=("top1 ", "first batch"),
        advice="Milepost gives the same wrong count: nobody told it what is right. `show` tells what the model was "
        "given: a "
        "declared preset (of `Images`), and dtype, shape and range of the first batch.",
        habit_says=("normalised: ", "as in training: 710"),
        milepost_says=("first batch", "from -1 to 1"),
    ),
    Mistake(
        title="The random transform of training is left on",
        wrong="Held-out images are shifted at random too, so that every evaluation is one of other data.",
        setup="""\
labels = np.arange(500) % 10
images = one_hot(labels)
rows(images, labels)
model = nn.Linear(10, 10)
model.weight.data, model.bias.data = torch.eye(10), torch.zeros(10)
save(model)
"""
        + _RANDOM_CROP,
        habit="""\
for attempt in range(3):
    right = sum(
        (model(images).argmax(1) == labels).sum().item()
        for images, labels in DataLoader(Shifted(images, labels), batch_size=100)
    )
    print(f"accuracy {right / 500:.3f}")
""",
        file=File(head=_RANDOM_CROP, data='TorchLoader(Shifted(rows["images"], rows["labels"]))'),
        advice="Give the evaluation a data set without random steps.",
        habit_says=("accuracy 0.",),
        milepost_says=("a random transform is on",),
    ),
    Mistake(
        title="The first hundred rows of sorted data",
        wrong="A quick look at the first rows. The data is sorted by class, so that one class was looked at.",
        setup="""\
labels = np.repeat(np.arange(10), 100)
images = one_hot(np.where(labels == 0, 0, (labels + np.arange(1000) % 2) % 10))
rows(images, labels)
model = nn.Linear(10, 10)
model.weight.data, model.bias.data = torch.eye(10), torch.zeros(10)
save(model)
data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
""",
        habit="""\
from torch.utils.data import Subset
for rows_used in (100, 1000):
    some = Subset(data, range(rows_used))
    right = sum((model(x).argmax(1) == y).sum().item() for x, y in DataLoader(some, batch_size=100))
    print(f"{rows_used} rows: accuracy {right / rows_used:.3f}")
""",
        commands=("milepost run eval.py runs --limit 100", "milepost run eval.py runs"),
        advice="Take a random sample. Milepost's default order is one, the same for every checkpoint.",
        habit_says=("100 rows: accuracy 1.000", "1000 rows: accuracy 0.550"),
        milepost_says=("partial", "0.550"),
    ),
)
