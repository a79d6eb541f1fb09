"""What does `import milepost` cost beside NumPy, and what does it load?"""

import subprocess
import sys

from _figures import Figure, at_most, in_turn, main, plain_figure, ratio

ROUNDS = 15
HEAVY = ("torch", "tensorflow", "keras", "jax", "onnx", "h5py", "numba", "ray", "matplotlib", "pandas")


def started(code: str) -> str:
    """Run a statement in a fresh interpreter and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def measure() -> list[Figure]:
    bare, numpy, ours, used = in_turn(
        [
            lambda: started("pass"),
            lambda: started("import numpy"),
            lambda: started("import milepost"),
            lambda: started("from milepost import Evaluation; Evaluation"),
        ],
        ROUNDS,
    )
    loaded = started(f"import sys, milepost; print(*(name for name in {HEAVY!r} if name in sys.modules))").split()
    return [
        plain_figure("a bare interpreter", 1e3 * sorted(bare)[ROUNDS // 2], "ms", 0),
        plain_figure("import numpy, interpreter included", 1e3 * sorted(numpy)[ROUNDS // 2], "ms", 0),
        plain_figure("import milepost, interpreter included", 1e3 * sorted(ours)[ROUNDS // 2], "ms", 0),
        at_most("import milepost beside import numpy, in all", ratio(ours, numpy), 3, "times"),
        at_most("from milepost import Evaluation beside import numpy, in all", ratio(used, numpy), 3, "times"),
        Figure("frameworks and heavy packages loaded by it", ", ".join(loaded) or "none", "none", not loaded),
    ]


if __name__ == "__main__":
    main("What does importing Milepost cost?", measure)
