"""Mistakes of choosing and comparing."""

from scripts.mistakes._mistake import File, Mistake

_TWO = """\
labels = np.arange(1000) % 10
other = (labels + 1) % 10
first = np.where(np.arange(1000) < 130, other, labels)    # 130 wrong
second = np.where(np.arange(1000) < 112, other, labels)   # of these, 18 are right now
images = np.concatenate([one_hot(first), one_hot(second)], axis=1)
rows(images, labels)
for step, half in ((1, slice(0, 10)), (2, slice(10, 20))):
    model = nn.Linear(20, 10)
    nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
    model.weight.data[:, half] = torch.eye(10)
    save(model, f"step-{step}.pt")
def predictions(step):
    model = nn.Linear(20, 10)
    model.load_state_dict(torch.load(f"runs/step-{step}.pt"))
    return model(torch.from_numpy(images)).argmax(1).numpy()
"""

_SEVERAL = """\
random = np.random.RandomState(1)
labels = random.randint(0, 10, 500)
images = np.concatenate(
    [one_hot(np.where(random.rand(500) < 0.8, labels, (labels + 1) % 10)) for step in range(12)], axis=1
)
rows(images, labels)
for step in range(12):
    model = nn.Linear(120, 10)
    nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
    model.weight.data[:, 10 * step : 10 * step + 10] = torch.eye(10)
    save(model, f"step-{step + 1}.pt")
def evaluate(step):
    model = nn.Linear(120, 10)
    model.load_state_dict(torch.load(f"runs/step-{step}.pt"))
    return (model(torch.from_numpy(images)).argmax(1) == torch.from_numpy(labels)).float().mean().item()
"""

MISTAKES = (
    Mistake(
        title="Two checkpoints compared as if on different data",
        wrong="Both were evaluated on the same rows. A test of two independent shares does not use that, and sees "
        "nothing.",
        setup=_TWO,
        habit="""\
right = [(predictions(step) == labels).sum() for step in (1, 2)]
a, b = (count / len(labels) for count in right)
z = (b - a) / np.sqrt((a * (1 - a) + b * (1 - b)) / len(labels))
print(f"{a:.3f} and {b:.3f}: z = {z:.2f}, {'different' if abs(z) > 1.96 else 'not significant'}")
""",
        file=File(model="TorchModel(lambda: nn.Linear(20, 10))"),
        commands=("milepost run eval.py runs", "milepost compare 1 2"),
        advice="Count the rows on which the two disagree: `milepost compare A B`.",
        habit_says=("not significant",),
        milepost_says=("only B right   18", "only A right   0", "p = 7.6"),
    ),
    Mistake(
        title="The best of many by argmax",
        wrong="Twelve checkpoints, equally good by construction (0.80). The best of them looks better than it is.",
        setup=_SEVERAL,
        habit="""\
scores = {step: evaluate(step) for step in range(1, 13)}
best = max(scores, key=scores.get)
print(f"best: step {best}, accuracy {scores[best]:.3f}")
""",
        file=File(model="TorchModel(lambda: nn.Linear(120, 10))"),
        commands=("milepost run eval.py runs", "milepost best --metric top1"),
        lines=(".",),
        advice="Choose any of the tied ones for another reason; report the cross-fitted value, or one on other data.",
        habit_says=("best: step",),
        milepost_says=("selected among 12", "11 tied with the best, 0 significantly worse"),
    ),
)
