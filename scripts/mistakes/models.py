"""Mistakes of models and weights."""

from scripts.mistakes._mistake import File, Mistake

_DATA = """\
random = np.random.RandomState(0)
labels = random.randint(0, 10, 500)
images = (one_hot(labels) + random.normal(0, 0.35, (500, 10))).astype(np.float32)
rows(images, labels)
data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
"""

_UNIT = """\
model = nn.Linear(10, 10)
model.weight.data, model.bias.data = torch.eye(10), torch.zeros(10)
"""

_ACCURACY = """\
def accuracy(model, batch_size=100):
    with torch.no_grad():
        right = [(model(images).argmax(1) == labels).sum() for images, labels in DataLoader(data, batch_size)]
    return sum(right).item() / len(data)
"""

_DROPOUT = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(10, 10)

    def forward(self, images):
        return self.out(functional.dropout(images, 0.3))
"""

_NORM = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(10, track_running_stats=False)
        self.out = nn.Linear(10, 10)

    def forward(self, images):
        return self.out(self.norm(images))
"""

_UNIT_OUT = """\
model = Net()
model.out.weight.data, model.out.bias.data = torch.eye(10), torch.zeros(10)
save(model)
"""

MISTAKES = (
    Mistake(
        title="The model is left in training mode",
        wrong="Nobody called `model.eval()`, so dropout is on, and each evaluation gives another number.",
        setup=_DATA
        + _ACCURACY
        + """\
model = nn.Sequential(nn.Dropout(0.3), nn.Linear(10, 10))
model[1].weight.data, model[1].bias.data = torch.eye(10), torch.zeros(10)
save(model)
""",
        habit="""\
print(f"{accuracy(model):.3f} {accuracy(model):.3f} {accuracy(model):.3f}")
""",
        file=File(model="TorchModel(lambda: nn.Sequential(nn.Dropout(0.3), nn.Linear(10, 10)))"),
        advice="`model.eval()`. `TorchModel` calls it.",
        habit_says=(" 0.",),
        milepost_says=("0.870",),
    ),
    Mistake(
        title="Dropout as a function stays on",
        wrong="`functional.dropout` does not know the module's mode: `model.eval()` does not turn it off.",
        setup=_DATA + _ACCURACY + _DROPOUT + _UNIT_OUT,
        habit=_DROPOUT
        + """

model.eval()
print(f"{accuracy(model):.3f} {accuracy(model):.3f} {accuracy(model):.3f}")
""",
        file=File(head=_DROPOUT, model="TorchModel(Net)"),
        advice="`functional.dropout(images, 0.3, training=self.training)`, or `nn.Dropout`.",
        habit_says=(" 0.",),
        milepost_says=("stochastic model", "dropout"),
    ),
    Mistake(
        title="Batch normalisation over the test batch",
        wrong="Normalised with the batch's own mean and variance, a row's prediction depends on the rows beside it.",
        setup=_DATA + _ACCURACY + _NORM + _UNIT_OUT,
        habit="""\
model.eval()  # self.norm = nn.BatchNorm1d(10, track_running_stats=False)
for batch_size in (4, 20, 500):
    print(f"batches of {batch_size}: {accuracy(model, batch_size):.3f}")
""",
        file=File(head=_NORM, model="TorchModel(Net)"),
        advice="Keep running statistics, and evaluate with them. If the batch is meant to matter, Milepost is the "
        "wrong tool.",
        habit_says=("batches of 4: 0.", "batches of 500: 0."),
        milepost_says=("stochastic model", "depends on its neighbours", "batch_norm"),
    ),
    Mistake(
        title="strict=False and the prefix of DistributedDataParallel",
        wrong="No name fits, none is loaded, and the weights that the model was born with are evaluated.",
        setup=_DATA
        + _ACCURACY
        + _UNIT
        + "save({f'module.{name}': tensor for name, tensor in model.state_dict().items()})",
        habit="""\
model = nn.Linear(10, 10)
model.load_state_dict(torch.load("runs/step-1.pt"), strict=False)
print(f"accuracy {accuracy(model):.3f}")
""",
        commands=("milepost run eval.py runs", "milepost show 1"),
        lines=("taken off", r"\bnames "),
        advice="Never `strict=False`. Milepost takes known prefixes off where all names fit then, and says so.",
        habit_says=("accuracy 0.",),
        milepost_says=("0.870", "module. taken off the checkpoint's names"),
    ),
    Mistake(
        title="strict=False and the wrong key",
        wrong="The weights stand under `state_dict`, and the whole file is given to the model.",
        setup=_DATA + _ACCURACY + _UNIT + "save({'state_dict': model.state_dict(), 'epoch': 7})",
        habit="""\
model = nn.Linear(10, 10)
checkpoint = torch.load("runs/step-1.pt")
print(model.load_state_dict(checkpoint.get("model", checkpoint), strict=False))
print(f"accuracy {accuracy(model):.3f}")
""",
        commands=("milepost run eval.py runs", "milepost show 1"),
        lines=("place",),
        advice="Look at what `load_state_dict` returns. Milepost finds the one set of tensors that fits the model.",
        habit_says=("missing_keys=['weight', 'bias']", "accuracy 0."),
        milepost_says=("0.870", "state_dict"),
    ),
    Mistake(
        title="The head of another number of classes, left out",
        wrong="Tensors whose shapes do not fit are filtered away, so that loading works. The last layer is random.",
        setup=_DATA + _ACCURACY + "save(nn.Linear(10, 100))",
        habit="""\
model = nn.Linear(10, 10)
own = model.state_dict()
found = torch.load("runs/step-1.pt")
fitting = {name: tensor for name, tensor in found.items() if tensor.shape == own[name].shape}
model.load_state_dict(fitting, strict=False)
print(f"accuracy {accuracy(model):.3f}, {len(fitting)} of {len(own)} tensors loaded")
""",
        advice="Build the model with the checkpoint's number of classes.",
        habit_says=("accuracy 0.", "0 of 2 tensors loaded"),
        milepost_says=("mismatch", "the model wants [10, 10]"),
    ),
    Mistake(
        title="A tensor that the checkpoint does not have",
        wrong="One tensor was never saved. `strict=False` leaves it as it was born, and the number is near enough.",
        setup=_DATA + _ACCURACY + _UNIT + "save({'weight': model.weight.data})",
        habit="""\
model = nn.Linear(10, 10)
model.load_state_dict(torch.load("runs/step-1.pt"), strict=False)
print(f"accuracy {accuracy(model):.3f}")
""",
        commands=("milepost run eval.py runs", "milepost run eval.py runs --allow-missing"),
        advice="Find out why it is missing. `--allow-missing` gives a number that is marked for ever.",
        habit_says=("accuracy 0.",),
        milepost_says=("mismatch", "1 of 2 variables are missing: bias", "PARTIAL: 1 of 2 variables missing"),
    ),
    Mistake(
        title="A transposed weight",
        wrong="Another framework stores (in, out), PyTorch wants (out, in). `reshape` fits any two shapes of one size.",
        setup=_DATA
        + """\
net = nn.Linear(10, 12)
net.weight.data, net.bias.data = torch.eye(12)[:, :10] * 3 + torch.eye(12).flip(0)[:, :10], torch.zeros(12)
def accuracy(model):
    return (model(torch.from_numpy(images)).argmax(1) == torch.from_numpy(labels)).float().mean().item()
save({"weight": net.weight.data.T.contiguous(), "bias": net.bias.data})
""",
        habit="""\
model = nn.Linear(10, 12)
for name, tensor in torch.load("runs/step-1.pt").items():
    parameter = model.get_parameter(name)
    parameter.data.copy_(tensor.reshape(parameter.shape))
print(f"accuracy {accuracy(model):.3f}; with the transposed weight {accuracy(net):.3f}")
""",
        file=File(model="TorchModel(lambda: nn.Linear(10, 12))"),
        advice="Transpose in the conversion. Of a square weight nobody can tell: compare one batch with the original.",
        habit_says=("accuracy 0.",),
        milepost_says=("mismatch", "(transposed?)"),
    ),
    Mistake(
        title="Averaged weights and raw ones",
        wrong="The file holds both. The raw ones are loaded, and the number is reported as that of the averaged model.",
        setup=_DATA
        + _ACCURACY
        + """\
ema = nn.Linear(10, 10)
ema.weight.data, ema.bias.data = torch.eye(10), torch.zeros(10)
raw = nn.Linear(10, 10)
raw.weight.data = torch.eye(10) + 0.4 * torch.from_numpy(random.normal(size=(10, 10)).astype(np.float32))
raw.bias.data = torch.zeros(10)
save({"model": raw.state_dict(), "ema": ema.state_dict()})
""",
        habit="""\
model = nn.Linear(10, 10)
model.load_state_dict(torch.load("runs/step-1.pt")["model"])
print(f"accuracy {accuracy(model):.3f}")
""",
        file=File(more='variants=("raw", "ema"),'),
        advice='`variants=("raw", "ema")`: both, each under its name.',
        habit_says=("accuracy 0.",),
        milepost_says=("ema", "0.870", "raw"),
    ),
    Mistake(
        title="Weights that are not finite",
        wrong="Training diverged. All scores are NaN, argmax says class 0, and the number is the share of that class.",
        setup=_DATA + _ACCURACY + _UNIT + "model.weight.data[:] = float('nan')\nsave(model)",
        habit="""\
model = nn.Linear(10, 10)
model.load_state_dict(torch.load("runs/step-1.pt"))
print(f"accuracy {accuracy(model):.3f}")
""",
        advice="Take an earlier checkpoint; look for the step at which the loss left.",
        habit_says=("accuracy 0.",),
        milepost_says=("nonfinite weights", "the training diverged"),
    ),
    Mistake(
        title="A constant predictor",
        wrong="One class is predicted for every row. On unbalanced data that looks like a model.",
        setup="""\
labels = np.array([1] * 35 + list(range(10)) * 7)
images = np.random.RandomState(0).normal(size=(105, 10)).astype(np.float32)
rows(images, labels)
model = nn.Linear(10, 10)
nn.init.zeros_(model.weight)
model.bias.data = torch.eye(10)[1] * 5
save(model)
""",
        habit="""\
right = (model(torch.from_numpy(images)).argmax(1) == torch.from_numpy(labels)).sum().item()
print(f"{right} of {len(labels)} right: accuracy {right / len(labels):.3f}")
""",
        advice="Look at preprocessing, labels and the learning rate; beside an accuracy, look at the balanced one.",
        habit_says=("42 of 105 right",),
        milepost_says=("0.400", "class 1"),
    ),
)
