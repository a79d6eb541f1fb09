"""`python -m milepost.evaluation.describe EVAL.py NAME OUT`: writes to a file what an evaluation's code is."""

import sys
from pathlib import Path

from milepost._internal.serialization import canonical
from milepost.core.types import Job
from milepost.evaluation.code_version import code_version
from milepost.evaluation.loader import load
from milepost.evaluation.recorder import RECORDER


def main() -> None:
    """Import the file as a module, build the evaluation's model, and write."""
    file, name, out = sys.argv[1:]
    evaluation = load(Job(file, name))
    with RECORDER.attributed(evaluation.file):
        evaluation.model.variables()
    Path(out).write_text(canonical(code_version(evaluation)), encoding="ascii")


if __name__ == "__main__":
    main()
