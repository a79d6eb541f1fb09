"""Evaluation files: importing one, and finding an evaluation in it by name.

The file is imported as `python EVAL.py` would, its folder first on the path, under its own name and never as
`__main__`.
"""

import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from milepost.core.types import Job
from milepost.errors import EvaluationFileError, MilepostError, UsageError
from milepost.evaluation.definition import Evaluation
from milepost.evaluation.recorder import RECORDER

PLAIN = "evaluation"
"""The variable that holds a file's only evaluation, and that is asked for where nothing else is."""

_ENTRY = re.compile(r"[^\W\d][\w.+-]*")
_loading: list[str] = []


def load(job: Job) -> Evaluation:
    """Return the job's evaluation: the live object, or what its file has under the attribute.

    The attribute is a variable's name or one of the dict `evaluations`; `evaluation`, the plain one, where there is
    only the dict, means its first. All but the plain one know their name (`entry`).

    Raises EvaluationFileError for a file that is missing, fails, or has no such evaluation.
    """
    if isinstance(job.live, Evaluation):
        name = name_of(job.live)
        return job.live if name in (None, PLAIN) else replace(job.live, entry=name)
    path = _path(job)
    module = _import(path)
    several = _entries(module, path)
    if job.attribute == PLAIN and several:
        name, found = next(iter(several.items()))
    else:
        name, found = job.attribute, _attribute(module, job.attribute, several, path)
    return replace(found, file=str(path), entry=found.entry if name == PLAIN else name)


def entries(job: Job) -> list[str]:
    """Return the names of all evaluations that the job's file offers to who asks for no name; [] where it has one.

    Raises what `load` raises.
    """
    if job.live is not None or job.attribute != PLAIN:
        return []
    path = _path(job)
    return list(_entries(_import(path), path))


def name_of(evaluation: Evaluation) -> str | None:
    """Return the name by which its file holds a live evaluation (`EVAL.py:NAME`), None where it cannot be found."""
    for module in _modules(evaluation.file) if evaluation.file else ():
        if vars(module).get(PLAIN) is evaluation:
            return PLAIN
        several = vars(module).get("evaluations")
        held = {**vars(module), **(several if isinstance(several, Mapping) else {})}
        names = [str(name) for name, item in held.items() if item is evaluation]
        if names:
            return names[-1]
    return None


def _path(job: Job) -> Path:
    if job.file is None:
        raise EvaluationFileError("an evaluation made in a prompt or notebook has no file: use engine='inprocess'")
    path = Path(job.file).resolve()
    if not path.is_file():
        raise EvaluationFileError(f"{job.file} is not a file; expected a Python file that defines `{job.attribute}`")
    return path


def _modules(file: str) -> list[Any]:
    """Return the modules that were imported from a file: of thousands, only those of its name are looked up on disk."""
    name = os.path.basename(file)
    files = [(item, getattr(item, "__file__", None)) for item in list(sys.modules.values())]
    alike = [(item, own) for item, own in files if isinstance(own, str) and own.endswith(name)]
    return [item for item, own in alike if os.path.realpath(own) == file]


def _entries(module: Any, path: Path) -> dict[str, Evaluation]:
    """Return the dict `evaluations`, checked; {} where the file defines none."""
    found = getattr(module, "evaluations", None)
    if found is None:
        return {}
    if getattr(module, PLAIN, None) is not None:
        raise EvaluationFileError(
            f"{path.name} defines both `evaluation` and `evaluations`; expected one of them: put the former into the "
            "latter under a name of its own"
        )
    if not isinstance(found, Mapping) or not found:
        what = "an empty dict" if isinstance(found, Mapping) else f"found {type(found).__name__}"
        raise EvaluationFileError(
            f"{path.name}: `evaluations` should be a dict of names to milepost.Evaluation, such as "
            f'{{"clean": Evaluation(...)}}; {what}'
        )
    for name, item in found.items():
        if not isinstance(name, str) or not _ENTRY.fullmatch(name) or name == PLAIN:
            raise EvaluationFileError(
                f"{path.name}: {name!r} cannot name one of `evaluations`; expected text of letters, digits, '_', '.', "
                f"'+' and '-' that begins with a letter, other than {PLAIN!r}"
            )
        if not isinstance(item, Evaluation):
            raise EvaluationFileError(
                f"{path.name}: evaluations[{name!r}] is no milepost.Evaluation; found {type(item).__name__}"
            )
    return dict(found)


def _import(path: Path) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before any import of TensorFlow: errors only, on our stderr
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and Path(getattr(known, "__file__", None) or "").resolve() == path:
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise EvaluationFileError(f"{path} cannot be imported as Python; expected a file that ends in .py")
    sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _loading.append(str(path))
    try:
        with RECORDER.attributed(str(path)):
            spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        if type(error) is UsageError:
            raise UsageError(f"{path.name}{_line(error, path)}: {error}") from error
        if isinstance(error, UsageError):
            raise
        if isinstance(error, MilepostError):
            raise EvaluationFileError(f"{path.name}: {error}") from error
        raise EvaluationFileError(f"{path.name} failed while it was imported:\n{_where(error, path)}") from error
    finally:
        _loading.pop()
    return module


def _line(error: Exception, path: Path) -> str:
    """Return which line of the file an error came through, ", line 7"; "" where through none."""
    lines = [item.lineno for item in traceback.extract_tb(error.__traceback__) if Path(item.filename) == path]
    return f", line {lines[-1]}" if lines else ""


def _where(error: Exception, path: Path) -> str:
    """Return the user's own lines of the traceback, without ours and the import system's."""
    frames = [item for item in traceback.extract_tb(error.__traceback__) if not item.filename.startswith("<frozen")]
    begin = next((index for index, item in enumerate(frames) if Path(item.filename) == path), 0)
    return "".join(traceback.format_list(frames[begin:]) + traceback.format_exception_only(error)).rstrip()


def _attribute(module: Any, attribute: str, several: Mapping[str, Evaluation], path: Path) -> Evaluation:
    found = getattr(module, attribute, None)
    if attribute in several:
        if isinstance(found, Evaluation) and found is not several[attribute]:
            raise EvaluationFileError(
                f"{path.name} has two evaluations named {attribute!r}, a variable and one of `evaluations`; rename one"
            )
        return several[attribute]
    if not isinstance(found, Evaluation):
        variables = (name for name, item in vars(module).items() if isinstance(item, Evaluation))
        have = sorted({*variables, *several})
        hint = f"; it has: {', '.join(have)}" if have else ""
        if found is None and attribute not in vars(module):
            raise EvaluationFileError(
                f"{path.name} defines no variable `{attribute}`; expected one that holds a milepost.Evaluation{hint}"
            )
        raise EvaluationFileError(
            f"{path.name} does not define `{attribute}` as a milepost.Evaluation (found {type(found).__name__}){hint}"
        )
    return found


def check_not_loading() -> None:
    """Raise an EvaluationFileError where an evaluation file runs itself while Milepost imports it."""
    if _loading:
        raise EvaluationFileError(
            f"{Path(_loading[-1]).name} calls run() while Milepost imports it; put the call under "
            '`if __name__ == "__main__":`'
        )
