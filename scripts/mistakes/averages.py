"""Mistakes of averaging and counting."""

from scripts.mistakes._mistake import File, Mistake

_RIGHT_299 = """\
labels = np.arange(360) % 10
predictions = labels.copy()
predictions[:61] = (labels[:61] + 1) % 10  # 61 of 360 are wrong; the last one is right
images = one_hot(predictions)
model = nn.Linear(10, 10)
model.weight.data, model.bias.data = torch.eye(10), torch.zeros(10)
rows(images, labels)
save(model)
data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
"""

MISTAKES = (
    Mistake(
        title="The mean of batch means",
        wrong="Each batch counts once, however few rows it has. Here the last of two batches holds one row. "
        "299 of 360 rows are right: 0.831.",
        setup=_RIGHT_299,
        habit="""\
means = []
for images, labels in DataLoader(data, batch_size=359):
    means.append((model(images).argmax(1) == labels).float().mean().item())
print(f"accuracy {np.mean(means):.3f}")
""",
        file=File(more="batch_size=359,"),
        commands=("milepost run eval.py runs", "milepost show 1"),
        lines=("top1", "batch mean"),
        advice="Count right rows and divide once. Milepost prints both numbers, and `show` explains the gap.",
        habit_says=("accuracy 0.915",),
        milepost_says=("0.831", "0.915", "299/360", "the last batch of 1 row counts like 359"),
    ),
    Mistake(
        title="drop_last=True on held-out data",
        wrong="The loader of training is used again, and the last rows are never looked at. Again 299 of 360 are "
        "right.",
        setup=_RIGHT_299,
        habit="""\
loader = DataLoader(data, batch_size=128, drop_last=True)
right = seen = 0
for images, labels in loader:
    right += (model(images).argmax(1) == labels).sum().item()
    seen += len(labels)
print(f"accuracy {right / seen:.4f}")
""",
        file=File(
            head="data = TensorDataset(torch.from_numpy(rows['images']), torch.from_numpy(rows['labels']))",
            data="TorchLoader(DataLoader(data, batch_size=128, drop_last=True))",
        ),
        advice="Nothing: Milepost opens the loader and reads every item once. In a loop of your own, drop_last=False.",
        habit_says=("accuracy 0.7617",),
        milepost_says=("drop_last is not", "360  0.831"),
    ),
    Mistake(
        title="A shuffled loader and the mean of batch means",
        wrong="The same checkpoint gets another number each time, because other rows land in the short last batch.",
        setup=_RIGHT_299,
        habit="""\
for attempt in range(3):
    loader = DataLoader(data, batch_size=100, shuffle=True)
    means = [(model(images).argmax(1) == labels).float().mean().item() for images, labels in loader]
    print(f"accuracy {np.mean(means):.4f}")
""",
        file=File(
            head="data = TensorDataset(torch.from_numpy(rows['images']), torch.from_numpy(rows['labels']))",
            data="TorchLoader(DataLoader(data, batch_size=100, shuffle=True))",
            more="batch_size=100,",
        ),
        commands=("milepost run eval.py runs", "milepost run eval.py runs --again"),
        advice="Nothing: the exact value has no order, and the batch mean is taken in the data's own order.",
        habit_says=("accuracy 0.",),
        milepost_says=("RandomSampler is not", "360  0.831"),
    ),
    Mistake(
        title="Rows doubled by DistributedSampler",
        wrong="The sampler pads the data set until every process has equally many rows, and the doubles are counted.",
        setup="""\
labels = np.arange(10)
predictions = np.where(labels < 9, labels, 0)  # 9 of 10 are right
images = one_hot(predictions)
model = nn.Linear(10, 10)
model.weight.data, model.bias.data = torch.eye(10), torch.zeros(10)
rows(images, labels)
save(model)
data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
""",
        habit="""\
from torch.utils.data import DistributedSampler
right = seen = 0
for rank in range(4):  # the four processes, and what all_reduce adds up
    sampler = DistributedSampler(data, num_replicas=4, rank=rank, shuffle=False)
    for images, labels in DataLoader(data, batch_size=2, sampler=sampler):
        right += (model(images).argmax(1) == labels).sum().item()
        seen += len(labels)
print(f"{right} of {seen} right: accuracy {right / seen:.4f}")
""",
        file=File(
            head="data = TensorDataset(torch.from_numpy(rows['images']), torch.from_numpy(rows['labels']))\n"
            "sampler = DistributedSampler(data, num_replicas=4, rank=0, shuffle=False)",
            data="TorchLoader(DataLoader(data, batch_size=2, sampler=sampler))",
        ),
        advice="Evaluate in one process, or drop the doubles by their index. Milepost does not use the sampler.",
        habit_says=("of 12 right", "0.9167"),
        milepost_says=("DistributedSampler is not", "10  0.900"),
    ),
    Mistake(
        title="A float32 count stops at 16,777,216",
        wrong="2**24 + 1 is no float32. A counter kept as one, in a loop or in a metric, stands still from there on.",
        habit="""\
from torchmetrics import MeanMetric
right = MeanMetric()
right.update(torch.ones(2**24))
for wrong in range(1000):
    right.update(torch.tensor(0.0))
print(f"torchmetrics MeanMetric: {right.compute().item():.5f}")
count = torch.tensor(2.0**24)
count += 1
print(f"a float32 counter: {int(count)}")
""",
        python="""\
import numpy as np
from milepost.metrics import TopK
right, wrong = np.zeros(2**24, np.int32), np.ones(1000, np.int32)  # ranks of the labels
state = TopK(1).state({"rank": right}, None)
state = state.merge(TopK(1).state({"rank": wrong}, None))
print(f"{TopK(1).values(state)['top1'].value:.5f}")
""",
        advice="Count in integers, and add in float64 or exactly.",
        habit_says=("MeanMetric: 1.00000", "16777216"),
        milepost_says=("0.99994",),
    ),
    Mistake(
        title="Empty data",
        wrong="A filter leaves no row. The loop prints a number, or something that a logger takes for one.",
        setup="""\
data = TensorDataset(torch.zeros(0, 10), torch.zeros(0, dtype=torch.int64))
model = nn.Linear(10, 10)
rows(np.zeros((0, 10), np.float32), np.zeros(0, np.int64))
save(model)
""",
        habit="""\
from torchmetrics.classification import MulticlassAccuracy
accuracy = MulticlassAccuracy(num_classes=10, average="micro")
means = []
for images, labels in DataLoader(data, batch_size=100):
    accuracy.update(model(images), labels)
    means.append((model(images).argmax(1) == labels).float().mean().item())
print("torchmetrics:", accuracy.compute().item())
print("mean of batch means:", np.mean(means))
""",
        advice="Treat no data as an error. In Milepost it is one, and an empty state has no value.",
        habit_says=("torchmetrics: 0.0", "mean of batch means: nan"),
        milepost_says=("error", "the data is empty"),
    ),
    Mistake(
        title="Macro averages over classes that are not there",
        wrong="Recall of a class without rows is undefined. What an average makes of it differs from tool to tool.",
        setup="""\
labels = np.array([0] * 8 + [1] * 4)
predictions = np.array([0] * 6 + [2] * 2 + [1] * 4)  # class 2 is only predicted, class 3 is neither
images = one_hot(predictions)
model = nn.Linear(10, 10)
model.weight.data, model.bias.data = torch.eye(10), torch.zeros(10)
rows(images, labels)
save(model)
""",
        habit="""\
from sklearn.metrics import balanced_accuracy_score, recall_score
from torchmetrics.classification import MulticlassRecall
recall = MulticlassRecall(num_classes=10, average="macro")
print(f"torchmetrics macro recall: {recall(torch.from_numpy(predictions), torch.from_numpy(labels)).item():.4f}")
print(f"sklearn recall_score, macro: {recall_score(labels, predictions, average='macro'):.4f}")
print(f"sklearn, labels=range(10): {recall_score(labels, predictions, average='macro', labels=range(10)):.4f}")
print(f"sklearn balanced_accuracy_score: {balanced_accuracy_score(labels, predictions):.4f}")
""",
        file=File(metrics='Recall(), Recall(classes="seen"), Recall(classes=10)'),
        commands=("milepost run eval.py runs", "milepost show 1"),
        lines=("recall_macro",),
        advice="Say over which classes. Milepost's name of the value says it, so that two of them cannot be confused.",
        habit_says=("0.5833", "0.8750", "0.1750"),
        milepost_says=("recall_macro_present", "recall_macro_seen", "recall_macro_of_10", "0.875", "0.583", "0.175"),
    ),
    Mistake(
        title="Two metrics that share a state because the first batch was alike",
        wrong="torchmetrics' MetricCollection groups metrics whose states agree after the first batch, and "
        "computes one.",
        setup="""\
labels = np.arange(100) % 10
first = (labels + np.where(np.arange(100) < 20, 0, 1)) % 10   # rows 0-19 right, the others second
images = one_hot(first) * 2 + one_hot(labels)
model = nn.Linear(10, 10)
model.weight.data, model.bias.data = torch.eye(10), torch.zeros(10)
rows(images, labels)
save(model)
data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
""",
        habit="""\
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy
metrics = MetricCollection({
    f"top{k}": MulticlassAccuracy(num_classes=10, top_k=k, average="macro") for k in (1, 5)
})
for images, labels in DataLoader(data, batch_size=20):
    metrics.update(model(images), labels)
print({name: round(value.item(), 4) for name, value in metrics.compute().items()})
""",
        file=File(metrics="TopK(1), TopK(5)"),
        advice="`MetricCollection(..., compute_groups=False)`.",
        habit_says=("'top1': 0.2, 'top5': 0.2",),
        milepost_says=("0.200", "1.000"),
    ),
)
