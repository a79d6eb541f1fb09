"""The child's side of being confined: its standard input says what it may open, before anything else."""

import json
import os
from dataclasses import asdict

from milepost.sandbox import confine


def confine_self() -> None:
    """In the child: read from standard input what may be opened, lock this process in, and answer with what holds.

    Nothing is read ahead, and nothing that starts threads has been imported yet.
    """
    size = b""
    while not size.endswith(b"\n"):
        size += _some(1)
    allowed = b""
    while len(allowed) < int(size):
        allowed += _some(int(size) - len(allowed))
    # Libraries of linear algebra start threads as they are imported; a reader has no use for them.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    measures = confine.confine(**json.loads(allowed))
    active = {measure.name for measure in measures if measure.active}
    if "landlock" in active:  # messages about what may not be read say why
        os.environ["MILEPOST_CONFINED"] = "hidden" if "namespaces" in active else "1"
    os.write(1, json.dumps({"sandbox": [asdict(measure) for measure in measures]}).encode() + b"\n")


def _some(most: int) -> bytes:
    data = os.read(0, most)
    if not data:
        raise SystemExit(0)
    return data
