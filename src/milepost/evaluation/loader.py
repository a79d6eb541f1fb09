"""Evaluation files: importing one, and the version of the code that it stands for.

The file is imported as `python EVAL.py` would, its folder first on the path, under its own name and never as
`__main__`.  The code version hashes the normalised source (comments, docstrings and layout aside) of the file and of
every module that it imports, directly or not, from outside Python's and the installed packages' folders.
"""

import ast
import hashlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from milepost._internal.serialization import digest
from milepost.core.types import Job, Json
from milepost.errors import EvaluationFileError, MilepostError, UsageError
from milepost.evaluation.definition import Evaluation, is_foreign
from milepost.evaluation.settings import readings, settings_read

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


def settings_of(evaluation: Evaluation) -> dict[str, Json]:
    """Return the settings (`milepost.setting`) that an evaluation's code has read until now, by name.

    Without a file, in a prompt or notebook, they are all that this process has read.
    """
    if not readings():
        return {}
    files = None if evaluation.file is None else {str(path) for path in _closure(Path(evaluation.file))}
    return settings_read(files)


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
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        if isinstance(error, UsageError):
            raise
        if isinstance(error, MilepostError):
            raise EvaluationFileError(f"{path.name}: {error}") from error
        raise EvaluationFileError(f"{path.name} failed while it was imported:\n{_where(error, path)}") from error
    finally:
        _loading.pop()
    return module


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


def code_version(evaluation: Evaluation) -> dict[str, Json]:
    """Return `{"version", "files": {path: {"normalised", "raw"}}}`: declared, or of the file and what it imports.

    Raises UsageError where there is neither a version nor a file.
    """
    if evaluation.version is not None:
        return {"version": f"declared:{evaluation.version}", "files": {}}
    if evaluation.file is None:
        raise UsageError(
            "an evaluation made in a prompt or notebook has no file to take the code's version from: "
            'set Evaluation(version="1", ...), and change it when the code changes'
        )
    root = Path(evaluation.file)
    # Relative to the file's folder, so that a copied project keeps its version.
    named = ((Path(os.path.relpath(path, root.parent)).as_posix(), path) for path in sorted(_closure(root)))
    files = {name: dict(_hashes(path.read_bytes())) for name, path in named}
    return {"version": digest({name: item["normalised"] for name, item in files.items()})[:16], "files": files}


@lru_cache(maxsize=512)
def _hashes(raw: bytes) -> Mapping[str, str]:
    normalised = ast.dump(_without_docstrings(ast.parse(raw)))
    return {
        "normalised": hashlib.sha256(normalised.encode()).hexdigest()[:16],
        "raw": hashlib.sha256(raw).hexdigest()[:16],
    }


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body[0] = ast.copy_location(ast.Pass(), first)
    return tree


def _closure(root: Path) -> set[Path]:
    """Return the file and all that it imports, directly or not, as far as it is the user's own code."""
    names = {getattr(item, "__file__", None): name for name, item in list(sys.modules.items())}
    found, waiting = set[Path](), [root]
    while waiting:
        path = waiting.pop()
        if path in found or path.suffix != ".py":
            continue
        found.add(path)
        package = _package(names.get(str(path)), path)
        files = (_file_of(name, root.parent) for name in _imported(path.read_bytes(), package))
        waiting += [file for file in files if file is not None and not is_foreign(str(file))]
    return found


def _package(module: str | None, path: Path) -> str:
    if module is None:
        return ""
    return module if path.name == "__init__.py" else module.rpartition(".")[0]


@lru_cache(maxsize=512)
def _imported(raw: bytes, package: str) -> frozenset[str]:
    """Names of modules that a source may import: `from a import b` may mean the module a.b; and all parent packages."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(raw)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
    parts = {".".join(name.split(".")[:count]) for name in names for count in range(1, name.count(".") + 2)}
    return frozenset(parts - {""})


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    base = ".".join(parents[: len(parents) - node.level + 1])
    return ".".join(part for part in (base, node.module) if part)


def _file_of(name: str, folder: Path) -> Path | None:
    """Return the file of a module: of the imported one, or where it would be found beside the evaluation file."""
    module = sys.modules.get(name)
    if module is not None:
        return Path(file).resolve() if (file := getattr(module, "__file__", None)) else None
    relative = Path(*name.split("."))
    for candidate in (folder / relative.with_suffix(".py"), folder / relative / "__init__.py"):
        if candidate.is_file():
            return candidate.resolve()
    return None
