"""What the user's code reads while an evaluation is imported and built: files, environment variables, modules.

An audit hook sees every file that Python opens and every module that it runs, and `os.environ` reports what it is asked
for.  A reading counts where, from the innermost frame outwards, the user's own code comes before the import system (a
package that is being imported reads for itself) and before Milepost; packages that the user's code calls may stand in
between.  Each reading knows the user's files on its stack, so that several evaluations of one process do not mix up.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from milepost.evaluation import environment
from milepost.evaluation.origin import Origin, origin
from milepost.evaluation.reading import Readings
from milepost.evaluation.source import form_of

_WRITING = os.O_WRONLY | os.O_RDWR
_SPECIAL = ("/proc/", "/sys/", "/dev/")
_MAIN = "__main__"
_LINECACHE = f"{os.sep}linecache.py"
_OWN = frozenset([__file__, environment.__file__])


class Recorder:
    """All that was read in this process, by the line of `__main__` that it was read for; 0 for what has none.

    What a script does below `if __name__ == "__main__":` is no part of what its file is as a module.  It counts only
    for an `Evaluation` that is made down there, and as far as it was read before that one was made.
    """

    def __init__(self) -> None:
        self._by_line: dict[int, Readings] = {}
        self._until: dict[int, Readings] = {}
        self._written = set[str]()
        self._paused = 0
        self._looking = set[int]()
        self._attributed: tuple[int, str] | None = None
        self.earlier: dict[str, int | None] = {}

    def install(self) -> None:
        """Begin to record, for as long as the process lives: an audit hook stays."""
        self.earlier = _modules_so_far()
        main = getattr(sys.modules.get(_MAIN), "__file__", None)
        by = frozenset([os.path.realpath(main)] if main else [])
        for path in self.earlier:
            add = self._readings(0).add_source if path.endswith(".py") else self._readings(0).add_file
            add(path, by)
        environment.watch(self._on_variable)
        handlers: dict[str, Callable[..., None]] = {
            "open": self._on_open,
            "exec": self._on_exec,
            "import": self._on_import,
        }
        handlers |= dict.fromkeys(["sqlite3.connect", "ctypes.dlopen"], self._on_name)

        def hook(event: str, args: tuple[Any, ...]) -> None:
            handler, thread = handlers.get(event), threading.get_ident()
            if handler is not None and not self._paused and thread not in self._looking:
                self._looking.add(thread)  # what is opened to look at a file is nobody's reading
                try:
                    # What cannot be looked at (a path that is none, no working folder) is the caller's to report.
                    with suppress(OSError, ValueError, TypeError):
                        handler(*args)
                finally:
                    self._looking.discard(thread)

        sys.addaudithook(hook)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Record nothing while data is read and while the model predicts."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    @contextmanager
    def attributed(self, file: str | None) -> Iterator[None]:
        """Count what this thread reads meanwhile for an evaluation's file, whoever called Milepost."""
        before = self._attributed
        self._attributed = before if file is None else (threading.get_ident(), file)
        try:
            yield
        finally:
            self._attributed = before

    def evaluation_made(self) -> None:
        """Note that the script makes an Evaluation now: what its main block read so far counts for it."""
        _, line = self._asking()
        if line and self._attributed is None:
            self._until[line] = Readings.merged(self._by_line.values())

    def read(self, main_blocks: Iterable[tuple[int, int]]) -> Readings:
        """Return what counts, where these lines of `__main__` run only in a script."""
        blocks = list(main_blocks)

        def runs_as_module(line: int) -> bool:
            return not any(first <= line <= last for first, last in blocks)

        counted = [readings for line, readings in self._by_line.items() if runs_as_module(line)]
        counted += [readings for line, readings in self._until.items() if not runs_as_module(line)]
        merged = Readings.merged(counted)
        merged.drop_files(self._written)
        return merged

    # ----------------------------------------------------------------------------------------------------- audit events

    def _on_open(self, path: Any, _mode: Any, flags: Any) -> None:
        if isinstance(path, int) or (found := self._reader()) is None:
            return
        name = os.path.abspath(os.fsdecode(path))
        if name.startswith(_SPECIAL):
            return
        if isinstance(flags, int) and flags & _WRITING:
            self._written.add(name)
            return
        files, line = found
        self._readings(line).add_file(name, files)

    def _on_name(self, name: Any, *_: Any) -> None:
        """Take a file that C code opens by the name that it was given."""
        if isinstance(name, str | bytes | os.PathLike) and os.path.isfile(name) and (found := self._reader()):
            self._readings(found[1]).add_file(os.path.abspath(os.fsdecode(name)), found[0])

    def _on_exec(self, code: Any) -> None:
        if isinstance(code, CodeType) and code.co_name == "<module>" and origin(code.co_filename) is Origin.USER:
            path = os.path.realpath(code.co_filename)
            files, line = self._asking()
            if (archive := _archive_of(path)) is not None:
                self._readings(line).add_file(archive, files)
            else:  # where there is no text (a module of which only the .pyc is there), the code stands for it
                self._readings(line).add_source(path, files, None if os.path.isfile(path) else form_of(code).encode())

    def _on_import(self, name: str, file: Any, *_: Any) -> None:
        if isinstance(file, str) and origin(file) is Origin.USER:  # an extension module; others run by `exec`
            files, line = self._asking()
            self._readings(line).add_file(os.path.abspath(file), files)
        elif (found := self._reader(importing=True)) is not None:
            self._readings(found[1]).add_package(name, found[0])

    def _on_variable(self, name: str, value: str | None) -> None:
        if not self._paused and (found := self._reader()) is not None:
            self._readings(found[1]).add_variable(name, value, found[0])

    # ------------------------------------------------------------------------------------------------------- who it is

    def _readings(self, line: int) -> Readings:
        return self._by_line.setdefault(line, Readings())

    def _reader(self, *, importing: bool = False) -> tuple[frozenset[str], int] | None:
        """Return what `_asking` does where it is the user's code that reads, else None.

        `importing`: what is read is a module, so that the innermost frames of the import system are passed over.
        """
        through_package = False
        for _, file in _frames():
            whose = origin(file)
            if whose is Origin.USER:
                return self._asking()
            if whose is Origin.MILEPOST:
                # The user may hand over a package's own function, such as `partial(create_model, "resnet18")`.
                return self._asking() if through_package and self._attributing() else None
            if whose is Origin.IMPORTER and not importing:
                return None
            if file.endswith(_LINECACHE):
                return None  # shows a line of source in a warning
            importing = importing and whose is not Origin.PACKAGE
            through_package |= whose is Origin.PACKAGE
        return None

    def _asking(self) -> tuple[frozenset[str], int]:
        """Return the user's files on the stack and the line of `__main__`.

        Where Milepost was called to import or build an evaluation, what lies further out is no part of it.
        """
        files, line = set[str](), 0
        for frame, file in _frames():
            whose = origin(file)
            if whose is Origin.USER:
                files.add(os.path.realpath(file))
                if _is_main(frame):
                    line = frame.f_lineno
            elif whose is Origin.MILEPOST and (attributed := self._attributing()) is not None:
                files.add(attributed)
                break
        return frozenset(files), line

    def _attributing(self) -> str | None:
        """Return the file that this thread's readings are attributed to, if any."""
        thread, file = self._attributed or (0, None)
        return file if thread == threading.get_ident() else None


def _frames() -> Iterator[tuple[FrameType, str]]:
    """Yield the frames of the stack, with their files, from the innermost that is not the recorder's.

    Asking a frame for its code is an event of its own: it is asked once.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the caller's frame
    while frame is not None:
        file = frame.f_code.co_filename
        if file not in _OWN:
            yield frame, file
        frame = frame.f_back


def _is_main(frame: FrameType) -> bool:
    return frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == _MAIN


def _archive_of(path: str) -> str | None:
    """Return the zip file that a module lies in, if it does."""
    parents = map(str, Path(path).parents)
    return next((parent for parent in parents if os.path.isfile(parent)), None)


def _modules_so_far() -> dict[str, int | None]:
    """Return the user's files that have run already, each with the line where it stands; None where it has ended."""
    named = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    own = [file for file in named if isinstance(file, str) and origin(file) is Origin.USER and os.path.isfile(file)]
    found: dict[str, int | None] = dict.fromkeys(map(os.path.realpath, own))
    for frame, file in _frames():
        if frame.f_code.co_name == "<module>" and origin(file) is Origin.USER:
            found[os.path.realpath(file)] = frame.f_lineno
    return found


RECORDER = Recorder()
"""The one of this process."""
