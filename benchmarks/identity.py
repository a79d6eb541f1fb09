"""What does it cost to know an evaluation's code: the audit hook while packages are imported, and its version then?

The project has an evaluation file of 60 lines, ten modules of 100 lines each, a configuration that is read, and imports
PyTorch and scikit-learn, which opens some 2,000 files.  The hook's price is the processor time that a fresh process
spends on these imports with the hook beside one without it, in turn; a version is described in a fresh process too.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _figures import Figure, at_most, main, plain_figure

ROUNDS, MODULES = 9, 10
PACKAGES = "import torch, sklearn.linear_model"
TIMED = "import time; begun = time.process_time(); {}; print(time.process_time() - begun)"
HOOKED = "import milepost.evaluation"

MODULE = "\n".join(
    f"def function_{number}(values, factor={number}):\n"
    f'    """Scale."""\n'
    f"    total = [value * factor + {number} for value in values]\n"
    f"    return sum(total)\n"
    for number in range(25)
)
EVALUATION = """
import json
import sklearn.linear_model
import torch
import numpy as np
from pathlib import Path
from milepost import Evaluation
from milepost.data import Arrays
from milepost.metrics import TopK
from milepost.models.numpy import FunctionModel
from milepost.tasks import Classification
{imports}
settings = json.loads((Path(__file__).parent / "settings.json").read_text())
evaluation = Evaluation(
    model=FunctionModel(lambda weights, inputs: inputs @ weights["w"]),
    data={{"test": Arrays(np.eye(3, dtype=np.float32), np.arange(3))}},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
)
"""
DESCRIBED = """
import time
from milepost.core.types import Job
from milepost.evaluation.code_version import code_version
from milepost.evaluation.loader import load
evaluation = load(Job({file!r}, "evaluation"))
begun = time.process_time()
code = code_version(evaluation)
print(time.process_time() - begun, len(code["files"]), len(code["read"]), len(code["distributions"]))
"""


def output(code: str) -> list[str]:
    """Run code in a fresh interpreter and return the words that it prints."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.split()


def hook_seconds() -> tuple[float, float]:
    """Return the medians of what imports take without the hook, and of what they take more with it."""
    without, more = [], []
    for number in range(ROUNDS + 1):
        # `milepost.evaluation` begins the record when it is imported: without it, its modules are loaded all the same.
        bare, hooked = (
            float(output(f"{begin}\n{TIMED.format(PACKAGES)}")[0])
            for begin in (f"import sys; sys.addaudithook = lambda hook: None\n{HOOKED}", HOOKED)
        )
        if number:  # the first round warms the disk's cache
            without.append(bare)
            more.append(hooked - bare)
    return statistics.median(without), statistics.median(more)


def version_seconds(folder: Path) -> tuple[list[float], list[str]]:
    """Return what versions take, the first of all (nothing cached) in front, and what is in one."""
    names = [f"module_{number}" for number in range(MODULES)]
    for name in names:
        (folder / f"{name}.py").write_text(MODULE)
    (folder / "settings.json").write_text(json.dumps({"mean": 0.5}))
    file = folder / "ev.py"
    file.write_text(EVALUATION.format(imports="\n".join(f"import {name}" for name in names)))
    found = [output(DESCRIBED.format(file=str(file))) for _ in range(ROUNDS + 1)]
    return [float(words[0]) for words in found], found[0][1:]


def measure() -> list[Figure]:
    """Measure."""
    imports, hook = hook_seconds()
    with tempfile.TemporaryDirectory() as folder:
        versions, parts = version_seconds(Path(folder))
    version = statistics.median(versions[1:])
    return [
        plain_figure("importing PyTorch and scikit-learn, without the hook", 1e3 * imports, "ms", 0),
        plain_figure("the hook while they are imported", 1e3 * hook, "ms", 1),
        plain_figure(
            f"a version of {parts[0]} modules, {parts[1]} file, {parts[2]} distributions", 1e3 * version, "ms", 1
        ),
        plain_figure("the same for the first time, nothing cached", 1e3 * versions[0], "ms", 1),
        at_most("the hook and a code version", 1e3 * (hook + version), 50, "ms"),
    ]


if __name__ == "__main__":
    main("What does it cost to know an evaluation's code?", measure)
