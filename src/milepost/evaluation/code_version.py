"""The version of an evaluation's code: the user's modules, what these read, and the distributions that they import.

Two evaluations have one version where all of this is the same.  The version is a digest; its description says what went
in, so that `run` can name what changed.  Values of variables go in as digests: some are secrets.
"""

import os
import platform
import sys
from collections.abc import Collection, Mapping
from itertools import takewhile
from pathlib import Path
from tempfile import gettempdir
from types import ModuleType

from milepost._internal.serialization import digest
from milepost.core.types import Json
from milepost.errors import UsageError
from milepost.evaluation.definition import Evaluation
from milepost.evaluation.distributions import Installed
from milepost.evaluation.environment import is_placement
from milepost.evaluation.fresh_process import described_afresh, unseen
from milepost.evaluation.live_code import LIVE, live_code
from milepost.evaluation.modules import Packages, imported, sources_of
from milepost.evaluation.origin import is_foreign
from milepost.evaluation.reading import Readings
from milepost.evaluation.recorder import RECORDER
from milepost.evaluation.settings import readings, settings_read
from milepost.evaluation.source import source_of


def code_version(evaluation: Evaluation) -> dict[str, Json]:
    """Return a version, declared or of the code, and its description; call it once model and data are built.

    - "files": {path: {"normalised", "raw"}}, digests of the user's modules
    - "read": {path: [digest of the content, or [size, mtime] of a large file]}
    - "variables": {name: digest of the value}, of those that were set
    - "distributions": {name: version}, and that of Python
    - "placement": {name: value}: read, and no part of the version

    Paths are relative to the file's folder.  Without a file, in a prompt or notebook, "files" holds digests of what the
    evaluation's parts reach in memory: functions, classes and values by name.  Raises UsageError where these cannot be
    told apart from others, so that a version is needed.
    """
    if evaluation.version is not None:
        return {"version": f"declared:{evaluation.version}", "files": {}}
    if evaluation.file is None:
        return _of_live_code(evaluation)
    root, installed = evaluation.file, Installed.found()
    counted = _readings()
    sources = sources_of(root, counted, installed.owns)
    if (where := unseen(sources)) is not None:
        return described_afresh(evaluation, where)
    names = _imported(sources, counted, sources.keys())
    return _version(root, sources, counted, sources.keys(), _distributions(evaluation, installed, names))


def _of_live_code(evaluation: Evaluation) -> dict[str, Json]:
    """Describe the code of a prompt or notebook: what the evaluation's parts reach, and the user's files among it."""
    live, installed = live_code(evaluation), Installed.found()
    counted = RECORDER.read([(1, sys.maxsize)])  # as for a script: until the Evaluation was made
    sources = dict[str, bytes]()
    for file in sorted(live.files):
        sources |= sources_of(file, counted, installed.owns)
    if (where := unseen(sources)) is not None:
        raise UsageError(
            f"{where}, may read files or environment variables before Milepost is imported, so that a change of them "
            'would not be noticed: import milepost in the first cell, or set Evaluation(version="1", ...)'
        )
    by = {*sources, *live.cells, LIVE}
    names = _imported(sources, counted, by) | live.packages
    forms = {name: {"normalised": form, "raw": form} for name, form in live.forms.items()}
    root = os.path.join(os.getcwd(), LIVE)
    return _version(root, sources, counted, by, _distributions(evaluation, installed, names), forms)


def _version(
    root: str,
    sources: Mapping[str, bytes],
    counted: Readings,
    by: Collection[str],
    distributions: Mapping[str, str],
    forms: Mapping[str, dict[str, str]] | None = None,
) -> dict[str, Json]:
    """Put a version and its description together; `by` are the user's files whose readings count."""
    variables = {name: counted.variables[name] for name in counted.of("variable", by)}
    described: dict[str, Json] = {
        "files": {**_files(root, sources), **(forms or {})},
        "read": _read(root, counted, by),
        "variables": {name: digest(found)[:16] for name, found in _set(variables).items() if not is_placement(name)},
        "distributions": distributions,
    }
    identity = {**described, "files": {name: item["normalised"] for name, item in described["files"].items()}}
    placement = {name: found[0] for name, found in _set(variables).items() if is_placement(name)}
    return {"version": digest(identity)[:16], **described, "placement": placement}


def settings_of(evaluation: Evaluation) -> dict[str, Json]:
    """Return the settings (`milepost.setting`) that an evaluation's code has read until now, by name.

    Without a file, in a prompt or notebook, they are all that this process has read.
    """
    if not readings():
        return {}
    file = evaluation.file
    return settings_read(None if file is None else sources_of(file, _readings()).keys())


def _readings() -> Readings:
    """Return what was read in this process, except below the `if __name__ == "__main__":` of a script."""
    main = str(getattr(sys.modules["__main__"], "__file__", ""))
    own = not is_foreign(main) and os.path.isfile(main)
    return RECORDER.read(source_of(Path(main).read_bytes()).main_blocks if own else ())


def _files(root: str, sources: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    texts = {_named(path, root): source_of(raw) for path, raw in sorted(sources.items())}
    words = {word for source in texts.values() for word in source.words}
    known = None if any(source.introspects for source in texts.values()) else words
    return {name: {"normalised": source.normalised(known), "raw": source.raw} for name, source in texts.items()}


def _read(root: str, counted: Readings, by: Collection[str]) -> dict[str, Json]:
    found = dict[str, Json]()
    for path in counted.of("file", by):
        # A file of a distribution changes with its version; one that is not there yet counts once it is.
        if counted.files[path] and not is_foreign(path) and not _is_temporary(path, root):
            found[_named(path, root)] = [reading.identity() for reading in counted.files[path]]
    return found


def _set(variables: Mapping[str, list[str | None]]) -> dict[str, list[str]]:
    """Return the values of those that were set: that one was asked for in vain changes nothing until it is set."""
    found = {name: [value for value in values if value is not None] for name, values in variables.items()}
    return {name: values for name, values in found.items() if values}


def _imported(sources: Mapping[str, bytes], counted: Readings, by: Collection[str]) -> set[str]:
    names = set(counted.of("package", by))
    packages = Packages()
    for path, raw in sources.items():
        names |= imported(source_of(raw), path, packages)
    return names


def _distributions(evaluation: Evaluation, installed: Installed, names: set[str]) -> dict[str, str]:
    # What Milepost's own adapters and sources import for the user.
    for part in (evaluation.model, evaluation.task, *evaluation.data.values(), *evaluation.metrics):
        held = vars(sys.modules[type(part).__module__]).values()
        names |= {item.__name__ for item in held if isinstance(item, ModuleType)}
    return {"python": ".".join(platform.python_version_tuple()[:2]), **installed.versions(sorted(names))}


def _named(path: str, root: str) -> str:
    """Return a path from the evaluation's folder, so that a copied project keeps its version; else as it is."""
    folder = os.path.dirname(root)
    if os.path.commonpath([path, folder]) == os.sep:
        return path
    return Path(os.path.relpath(path, folder)).as_posix()


def _is_temporary(path: str, root: str) -> bool:
    """Return whether a file lies in a folder for temporary files, and not in the one of the evaluation itself."""
    place = Path(os.path.realpath(gettempdir()))
    if place not in Path(path).parents:
        return False
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(Path(path).parts, Path(root).parts, strict=False))
    return len(list(shared)) <= len(place.parts) and Path(root).parent != place
