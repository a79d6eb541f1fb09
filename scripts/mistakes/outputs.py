"""Mistakes of outputs and labels."""

from scripts.mistakes._mistake import File, Mistake

_UNIT = """\
model = nn.Linear(10, 10)
model.weight.data, model.bias.data = torch.eye(10), torch.zeros(10)
rows(images, labels)
save(model)
data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
"""

_SOFTMAX = """\
class Net(nn.Linear):
    def forward(self, images):
        return super().forward(images).softmax(1)
"""

MISTAKES = (
    Mistake(
        title="Equal scores and top-5",
        wrong="The model gives every class the same score. Counting the classes above the label finds none, for "
        "any label.",
        setup="""\
labels = np.arange(1000) % 10
images = np.ones((1000, 10), np.float32)
rows(images, labels)
model = nn.Linear(10, 10)
nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
save(model)
images, labels = torch.from_numpy(images), torch.from_numpy(labels)
""",
        habit="""\
logits = model(images)
own = logits.gather(1, labels[:, None])  # the label's score
above = (logits > own).sum(1)
print(f"top-1 {(above < 1).float().mean():.3f}, top-5 {(above < 5).float().mean():.3f}")
""",
        file=File(metrics="TopK(1), TopK(5)"),
        commands=("milepost run eval.py runs", "milepost show 1"),
        lines=(r"\btied", r"constant"),
        advice="Give ties a rule. In Milepost equal scores rank by class index, as argmax does, and tied rows are "
        "counted.",
        habit_says=("top-1 1.000, top-5 1.000",),
        milepost_says=("0.100", "0.500", "1,000 rows whose label shares its score"),
    ),
    Mistake(
        title="NaN scores count as a class",
        wrong="argmax over NaN returns the place of the first NaN. A row of NaN is predicted as class 0, right or "
        "wrong.",
        setup="""\
labels = np.array([0] * 40 + [1] * 60)
images = one_hot(labels)
images[:80] = np.nan  # a corrupt image, a division by zero
"""
        + _UNIT,
        habit="""\
from torchmetrics.classification import MulticlassAccuracy
logits, target = model(torch.from_numpy(images)), torch.from_numpy(labels)
print(f"argmax: {(logits.argmax(1) == target).float().mean():.2f}")
accuracy = MulticlassAccuracy(num_classes=10, average="micro")
print(f"torchmetrics: {accuracy(logits, target).item():.2f}")
""",
        commands=("milepost run eval.py runs", "milepost show 1"),
        lines=(r"\bnonfinite",),
        advice="Check that scores are finite. In Milepost a non-finite row is wrong, and non-finite rows are counted.",
        habit_says=("argmax: 0.60", "torchmetrics: 0.60"),
        milepost_says=("0.20", "80 rows with a score that is not a number"),
    ),
    Mistake(
        title="Softmax twice",
        wrong="The model ends in softmax, and the loss applies it again. The loss looks plausible, and is far off.",
        setup="""\
labels = np.arange(100) % 10
images = one_hot(labels) * 8
"""
        + _SOFTMAX
        + """model = Net(10, 10)
model.weight.data, model.bias.data = torch.eye(10), torch.zeros(10)
rows(images, labels)
save(model)
""",
        habit=_SOFTMAX
        + """

outputs = model(torch.from_numpy(images))
print(f"cross-entropy {functional.cross_entropy(outputs, torch.from_numpy(labels)):.4f}")
""",
        file=File(
            head=_SOFTMAX,
            model="TorchModel(lambda: Net(10, 10))",
            metrics="TopK(1), CrossEntropy()",
        ),
        commands=(
            "milepost run eval.py runs",
            '>>> edit("eval.py", \'outputs="logits"\', \'outputs="probabilities"\')',
            "milepost run eval.py runs",
        ),
        advice='Declare what the model gives: `Classification(outputs="probabilities")`. Declared as "logits", '
        "Milepost prints the wrong loss too, since it never guesses, but it warns of rows that all sum to 1.",
        habit_says=("cross-entropy 1.46",),
        milepost_says=("1.46", "look like probabilities", "0.003"),
    ),
    Mistake(
        title="Logits taken for probabilities",
        wrong="The other way round: the loss takes the logarithm of what is no probability, with a clamp against "
        "errors.",
        setup="""\
labels = np.arange(100) % 10
images = one_hot(labels) * 8
"""
        + _UNIT,
        habit="""\
probabilities = model(torch.from_numpy(images))  # no: these are logits
own = probabilities.gather(1, torch.from_numpy(labels)[:, None])
print(f"cross-entropy {-own.clamp(min=1e-7).log().mean():.4f}")
""",
        file=File(outputs="probabilities", metrics="TopK(1), CrossEntropy()"),
        advice='`Classification(outputs="logits")`. A row that does not sum to 1 is refused.',
        habit_says=("cross-entropy -2.07",),
        milepost_says=("error", "row 0 of a batch sums to 8"),
    ),
    Mistake(
        title="Labels that are no class",
        wrong="Labels count from 1. The last class has no output, all others are shifted, and the loop does not mind.",
        setup="""\
labels = np.arange(100) % 10 + 1
images = one_hot(labels - 1)
"""
        + _UNIT,
        habit="""\
right = (model(torch.from_numpy(images)).argmax(1) == torch.from_numpy(labels)).sum().item()
print(f"{right} of {len(labels)} right")
""",
        advice="Subtract 1, or look at the label file again.",
        habit_says=("0 of 100 right",),
        milepost_says=("label 10 is no class of a model with 10 outputs",),
    ),
    Mistake(
        title="1001 outputs and labels from 0",
        wrong="Output 0 means background, as in TF-Slim's ImageNet models, and labels count from 0: all are off by "
        "one.",
        setup="""\
labels = np.arange(110) % 10
images = one_hot(labels + 1, 11)
model = nn.Linear(11, 11)
model.weight.data, model.bias.data = torch.eye(11), torch.zeros(11)
rows(images, labels)
save(model)
""",
        habit="""\
right = (model(torch.from_numpy(images)).argmax(1) == torch.from_numpy(labels)).sum().item()
print(f"{right} of {len(labels)} right")
""",
        file=File(model="TorchModel(lambda: nn.Linear(11, 11))", metrics="TopK(1), Confusion()"),
        commands=(
            "milepost run eval.py runs",
            "milepost show 1",
            '>>> edit("eval.py", \'rows["labels"])\', \'rows["labels"], label_offset=1)\')',
            "milepost run eval.py runs",
        ),
        lines=("matrix:", r"^ +(#|\d+)( +\d+){11}$"),
        advice="`Arrays(images, labels, label_offset=1)`. Without it Milepost gives the same 0, since every label is a "
        "class of the model, but it warns that the labels are off by one; the confusion matrix shows the shift.",
        habit_says=("0 of 110 right",),
        milepost_says=("the label plus 1 in 110 of 110", "label_offset=1", "0.000", "matrix: 11 x 11", "1.000"),
    ),
)
