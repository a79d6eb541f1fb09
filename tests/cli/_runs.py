"""Stores of real runs of a small linear model, for the verbs that read kept columns."""

from pathlib import Path
from typing import Any

from tests._material import checkpoints, evaluation_of, go

ROWS = 700


def evaluated(folder: Path, *steps: int, **changes: Any) -> Path:
    """Evaluate checkpoints of these steps, in a run `lenet`, and return the store."""
    options = {key: changes.pop(key) for key in ("limit",) if key in changes}
    runs = checkpoints(folder / "lenet", *steps)
    go(evaluation_of(ROWS, **changes), runs, store=folder / "evals", **options)
    return folder / "evals"
