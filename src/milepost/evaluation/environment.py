"""`os.environ` that reports what it is asked for, and which variables say only where a process runs."""

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

Report = Callable[[str, str | None], None]
"""Takes a variable's name, and its value or None where it is not set."""

_PLACEMENT = re.compile(
    r"CUDA_(VISIBLE_DEVICES|DEVICE_ORDER|HOME|PATH)|(NVIDIA|ROCR|HIP|ZE|TPU)_VISIBLE_\w+|GPU_DEVICE_ORDINAL"
    r"|(LOCAL_|GROUP_|NODE_|ROLE_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)|(SLURM|PBS|LSB|SGE|OMPI|PMI|PMIX|TORCHELASTIC)_\w+"
    r"|\w+_NUM_THREADS|HOME|USER|LOGNAME|USERNAME|HOSTNAME|SHELL|PWD|OLDPWD|SHLVL|_|PATH|LD_LIBRARY_PATH|MANPATH"
    r"|TMP|TEMP|TMPDIR|\w*_?CACHE|\w+_CACHE_(DIR|HOME|PATH|ROOT)|\w+_HOME|XDG_\w+|PYTHON\w*|VIRTUAL_ENV\w*|CONDA_\w+"
    r"|TERM|TERM_\w+|COLORTERM|COLUMNS|LINES|(NO|FORCE|CLICOLOR)_?\w*COLOR\w*|PS[124]|DISPLAY|WAYLAND_DISPLAY|WINDOWID"
    r"|(SSH|DBUS|GPG|LESS|LS)_\w+|TF_CPP_\w+LOG_LEVEL|PYTEST_\w+|MILEPOST_\w+"
)


def is_placement(name: str) -> bool:
    """Return whether a variable says where and for whom a process runs, or where it keeps its own files.

    >>> [is_placement(name) for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "HF_HOME", "MEAN")]
    [True, True, True, False]
    """
    return _PLACEMENT.fullmatch(name) is not None


def watch(report: Report) -> None:
    """Have `os.environ` and `os.environb`, whoever holds them already, report what they are asked for from now on."""
    for mapping in (os.environ, os.environb):
        mapping.__class__ = _Watched  # the very object: `from os import environ` holds it
    _Watched.report = staticmethod(report)


class _Watched(os._Environ):  # type: ignore[type-arg]  # noqa: SLF001 - the class of the object that there is
    """The process's environment, of text or bytes."""

    report: Report

    def __getitem__(self, key: Any) -> Any:
        try:
            value = super().__getitem__(key)
        except KeyError:
            self.report(os.fsdecode(key), None)
            raise
        self.report(os.fsdecode(key), os.fsdecode(value))
        return value

    def setdefault(self, key: Any, value: Any = None) -> Any:
        """Set a variable where it is not set, and report what it is then: whether it was set before tells nobody."""
        if key not in set(super().__iter__()):
            self[key] = value
        return self[key]

    def __iter__(self) -> Iterator[Any]:
        for key in super().__iter__():
            self.report(os.fsdecode(key), os.fsdecode(super().__getitem__(key)))
            yield key
