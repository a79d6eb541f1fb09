"""The code version of a script that ran before Milepost could see what it read: described in a fresh process.

`python EVAL.py` may read a configuration above its import of Milepost.  A second process (`describe`) then imports the
file as a module, with the record begun, which takes as long as the file's imports take.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile

from milepost.core.types import Json
from milepost.errors import UsageError
from milepost.evaluation.definition import Evaluation
from milepost.evaluation.loader import name_of
from milepost.evaluation.recorder import RECORDER
from milepost.evaluation.source import source_of

_MODULE = "milepost.evaluation.describe"


def unseen(sources: Mapping[str, bytes]) -> str | None:
    """Return where one of these modules may have read something before the record began: "eval.py, line 3"."""
    for path, text in sources.items():
        first = source_of(text).acts_from
        ended = RECORDER.earlier.get(path, 0)  # the line where it stood then, None where it had run to its end
        if first is not None and (ended is None or first < ended):
            return f"{os.path.basename(path)}, line {first}"
    return None


def described_afresh(evaluation: Evaluation, where: str) -> dict[str, Json]:
    """Return the description of an evaluation's code as a fresh process gives it; `where` is for the message.

    Raises UsageError where the file cannot be imported as a module.
    """
    name, reason = name_of(evaluation), "the Evaluation is not assigned to a variable of its file"
    if name is not None:
        with TemporaryFile() as out:  # without a name, so that nothing is left of it
            handle = out.fileno()
            command = [sys.executable, "-P", "-m", _MODULE, str(evaluation.file), name, f"/dev/fd/{handle}"]
            done = subprocess.run(  # noqa: S603 - our own interpreter and module
                command, env=_environment(), capture_output=True, text=True, check=False, pass_fds=[handle]
            )
            if done.returncode == 0:
                out.seek(0)
                described: dict[str, Json] = json.loads(out.read())
                return described
            reason = (done.stderr.rstrip() or f"exit code {done.returncode}").splitlines()[-1]
    raise UsageError(
        f"{where}, may read files or environment variables before Milepost is imported, so that a change of them would "
        f"not be noticed; put `from milepost import Evaluation` above it (imported again as a module, it failed: "
        f"{reason})"
    )


def _environment() -> dict[str, str]:
    """Return this process's environment, with the folder of this very Milepost."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), root]))}
