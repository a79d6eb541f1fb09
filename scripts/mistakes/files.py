"""Mistakes of checkpoint files."""

from scripts.mistakes._mistake import Mistake

_DATA = """\
import os
from pathlib import Path
random = np.random.RandomState(0)
labels = random.randint(0, 10, 500)
images = (one_hot(labels) + random.normal(0, 0.35, (500, 10))).astype(np.float32)
rows(images, labels)
def unit(noise):
    random = np.random.RandomState(1)
    model = nn.Linear(10, 10)
    model.weight.data = torch.eye(10) + noise * torch.from_numpy(random.normal(size=(10, 10)).astype(np.float32))
    model.bias.data = torch.zeros(10)
    return model
def accuracy(model):
    return (model(torch.from_numpy(images)).argmax(1) == torch.from_numpy(labels)).float().mean().item()
def evaluate(path):
    model = nn.Linear(10, 10)
    model.load_state_dict(torch.load(path))
    return accuracy(model)
"""

MISTAKES = (
    Mistake(
        title="A flipped bit",
        wrong="One bit of one weight changed on the way. The zip archive holds checksums, and `torch.load` reads none.",
        setup=_DATA
        + """\
save(unit(0))
content = bytearray(Path("runs/step-1.pt").read_bytes())
place = content.find(np.eye(10, dtype="<f4").tobytes())
content[place + 7] ^= 0x40  # the second weight was 0 and is 2
Path("runs/step-1.pt").write_bytes(content)
""",
        habit="""\
model = nn.Linear(10, 10)
model.load_state_dict(torch.load("runs/step-1.pt"))
print(f"accuracy {accuracy(model):.3f}")
""",
        advice="Copy the file again.",
        habit_says=("accuracy 0.",),
        milepost_says=("corrupt", "CRC-32"),
    ),
    Mistake(
        title="A flipped bit in a safetensors file",
        wrong="The same damage in a format that has no checksum.",
        setup=_DATA
        + """\
from safetensors.torch import save_file
save_file(unit(0).state_dict(), "runs/step-1.safetensors")
content = bytearray(Path("runs/step-1.safetensors").read_bytes())
place = content.find(np.eye(10, dtype="<f4").tobytes())
content[place + 7] ^= 0x40  # the second weight was 0 and is 2
Path("runs/step-1.safetensors").write_bytes(content)
""",
        habit="""\
from safetensors.torch import load_file
model = nn.Linear(10, 10)
model.load_state_dict(load_file("runs/step-1.safetensors"))
print(f"accuracy {accuracy(model):.3f}")
""",
        advice="Keep the files' digests when they are written. Milepost cannot see this damage: what it reads is "
        "what is "
        "there. The digest of the weights that it records tells the copy from the original.",
        habit_says=("accuracy 0.740",),
        milepost_says=("0.740",),
    ),
    Mistake(
        title="A Git LFS pointer",
        wrong="The repository was cloned without LFS. PyTorch's message names the unsafe way to load first.",
        setup=_DATA
        + """\
Path("runs/step-1.pt").write_text(
    "version https://git-lfs.github.com/spec/v1\\noid sha256:" + "0123456789abcdef" * 4 + "\\nsize 178209\\n"
)
""",
        habit="""\
torch.load("runs/step-1.pt")
""",
        advice="`git lfs pull`.",
        habit_says=("weights_only",),
        milepost_says=("LFS", "178,209", "git lfs pull"),
    ),
    Mistake(
        title="One bad file ends the run",
        wrong="The second of three checkpoints is cut off. The loop stops there, and the third is never evaluated.",
        setup=_DATA
        + """\
for step in (100, 200, 300):
    save(unit(0.5 - step / 1000), f"step-{step}.pt")
content = Path("runs/step-200.pt").read_bytes()
Path("runs/step-200.pt").write_bytes(content[:1500])
""",
        habit="""\
for path in sorted(Path("runs").glob("*.pt")):
    print(f"{path} {evaluate(path):.3f}")
""",
        advice="Run it again when the file is whole: only that one is evaluated then.",
        habit_says=("step-100.pt 0.", "Error"),
        milepost_says=("torn", "step-300", "evaluated 2, skipped 0, failed 1"),
    ),
    Mistake(
        title="A checkpoint that executes code",
        wrong="A pickle may call any function. With `weights_only=False`, as many scripts have it, it is called.",
        setup=_DATA
        + """\
class Payload:
    def __reduce__(self):  # harmless here: it makes an empty file beside the evaluation
        return os.mkdir, ("executed",)
save({"weight": torch.eye(10), "bias": torch.zeros(10), "note": Payload()})
def executed():
    found = Path("executed").exists()
    if found:
        Path("executed").rmdir()
    return "yes" if found else "no"
""",
        habit="""\
checkpoint = torch.load("runs/step-1.pt", weights_only=False)
print("executed:", executed())
""",
        commands=("milepost run eval.py runs", ">>> print('executed:', executed())", "milepost show 1"),
        lines=("foreign",),
        advice="Leave `weights_only=True`. Milepost reads tensors as data and imports nothing that a file names; "
        "`show` "
        "lists it.",
        habit_says=("executed: yes",),
        milepost_says=("executed: no", "0.870"),
    ),
    Mistake(
        title="The newest by name is not the newest",
        wrong="Names sort as text: step-900 comes after step-1000. Only one checkpoint is evaluated, and it is an "
        "old one.",
        setup=_DATA
        + """\
for step in (800, 900, 1000):
    save(unit(0.6 - step / 2000), f"step-{step}.pt")
""",
        habit="""\
newest = sorted(Path("runs").glob("*.pt"))[-1]
print(f"{newest.name}: accuracy {evaluate(newest):.3f}")
""",
        advice="Evaluate all of them: the best one is often not the last. Milepost sorts by the step's number.",
        habit_says=("step-900.pt",),
        milepost_says=("step-800", "step-900", "step-1000", "evaluated 3"),
    ),
    Mistake(
        title="A result under the name of other weights",
        wrong="Results are kept by file name, and the next training run writes the same names.",
        setup=_DATA + 'save(unit(0.4), "best.pt")\n',
        habit="""\
import json
def cached(path):
    kept = Path("results.json")
    results = json.loads(kept.read_text()) if kept.exists() else {}
    if path not in results:
        results[path] = evaluate(path)
        kept.write_text(json.dumps(results))
    return results[path]

print(f"first training: {cached('runs/best.pt'):.3f}")
save(unit(0.0), "best.pt")
print(f"second training: {cached('runs/best.pt'):.3f}; in truth {evaluate('runs/best.pt'):.3f}")
save(unit(0.4), "best.pt")  # the first again, for Milepost
""",
        commands=(
            "milepost run eval.py runs",
            '>>> save(unit(0.0), "best.pt")',
            "milepost run eval.py runs",
        ),
        advice="Nothing: a checkpoint is known by its content, and the name only leads to it.",
        habit_says=("second training: 0.",),
        milepost_says=("0.870", "evaluated 1, skipped 0, failed 0"),
    ),
)
