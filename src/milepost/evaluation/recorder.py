"""What the user's code reads while an evaluation is imported and built: files, environment variables, modules.

An audit hook sees every file that Python opens and every module that it runs, and `os.environ` reports what it is asked
for.  A reading counts where, from the innermost frame outwards, the user's own code comes before the import system (a
package that is being imported reads for itself) and before Milepost; packages that the user's code calls may stand in
between.  Each reading knows the user's files on its stack, so that several evaluations of one process do not mix up.
"""

import linecache
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident
from types import CodeType, FrameType
from typing import Any

from milepost.evaluation import environment
from milepost.evaluation.origin import (
    IMPORTER,
    MILEPOST,
    PACKAGE,
    USER,
    installed_name,
    origin,
    origin_of_frame,
)
from milepost.evaluation.reading import Readings
from milepost.evaluation.source import form_of

_WRITING = os.O_WRONLY | os.O_RDWR
_SPECIAL = ("/proc/", "/sys/", "/dev/")
_MAIN = "__main__"
_LINECACHE = vars(linecache)


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
        self._at_work = set[int]()
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
        at_work = self._at_work

        def hook(event: str, args: tuple[Any, ...]) -> None:
            # PyTorch and scikit-learn make 80,000 events while they are imported, 9,000 of them of these kinds.
            if event in handlers and not self._paused and not (at_work and get_ident() in at_work):
                handlers[event](*args)

        sys.addaudithook(hook)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Record nothing that this thread opens to look at a file: a script may have replaced `open` by its own.

        What cannot be looked at (a path that is none, no working folder) is the caller's to report.
        """
        thread = get_ident()
        self._at_work.add(thread)
        try:
            with suppress(OSError, ValueError, TypeError):
                yield
        finally:
            self._at_work.discard(thread)

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
        self._attributed = before if file is None else (get_ident(), file)
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
        # Compiled modules are nine of ten files that are opened: what is in one counts once it runs.
        if isinstance(path, int) or (isinstance(path, str) and path.endswith(".pyc")):
            return
        if not self._is_theirs(_caller()):
            return
        with self._looking():
            name = os.path.abspath(os.fsdecode(path))
            if name.startswith(_SPECIAL):
                return
            if isinstance(flags, int) and flags & _WRITING:
                self._written.add(name)
                return
            files, line = self._asking()
            self._readings(line).add_file(name, files)

    def _on_name(self, name: Any, *_: Any) -> None:
        """Take a file that C code opens by the name that it was given."""
        if isinstance(name, str | bytes | os.PathLike) and self._is_theirs(_caller()):
            with self._looking():
                if os.path.isfile(name):
                    files, line = self._asking()
                    self._readings(line).add_file(os.path.abspath(os.fsdecode(name)), files)

    def _on_exec(self, code: Any) -> None:
        if not isinstance(code, CodeType) or code.co_name != "<module>":
            return
        if (whose := origin(code.co_filename)) is not USER:
            # What `importlib.import_module` begins with is announced by no event.
            if whose is PACKAGE and (name := installed_name(code.co_filename)) is not None:
                self._on_import(name)
            return
        with self._looking():
            path = os.path.realpath(code.co_filename)
            files, line = self._asking()
            if (archive := _archive_of(path)) is not None:
                self._readings(line).add_file(archive, files)
            else:  # where there is no text (a module of which only the .pyc is there), the code stands for it
                self._readings(line).add_source(path, files, None if os.path.isfile(path) else form_of(code).encode())

    def _on_import(self, name: str, file: Any = None, *_: Any) -> None:
        if isinstance(file, str) and origin(file) is USER:  # an extension module; others run by `exec`
            with self._looking():
                files, line = self._asking()
                self._readings(line).add_file(os.path.abspath(file), files)
        elif not _is_from_inside(name) and self._is_theirs(_caller(), importing=True):
            files, line = self._asking()
            self._readings(line).add_package(name, files)

    def _on_variable(self, name: str, value: str | None) -> None:
        if not self._paused and self._is_theirs(_caller()):
            files, line = self._asking()
            self._readings(line).add_variable(name, value, files)

    # ------------------------------------------------------------------------------------------------------- who it is

    def _readings(self, line: int) -> Readings:
        return self._by_line.setdefault(line, Readings())

    def _is_theirs(self, frame: FrameType | None, *, importing: bool = False) -> bool:
        """Return whether it is the user's code that reads, from what stands on the stack from a frame outwards.

        `importing`: what is read is a module, so that the innermost frames of the import system are passed over.
        """
        through_package = False
        while frame is not None:  # mostly two frames, a package's and the import system's
            whose = origin_of_frame(frame)
            if whose is USER:
                return True
            if whose is MILEPOST:
                # The user may hand over a package's own function, such as `partial(create_model, "resnet18")`.
                return through_package and self._attributing() is not None
            if whose is IMPORTER and not importing:
                return False
            if frame.f_globals is _LINECACHE:
                return False  # shows a line of source in a warning
            if whose is PACKAGE:
                importing, through_package = False, True
            frame = frame.f_back
        return False

    def _asking(self) -> tuple[frozenset[str], int]:
        """Return the user's files on the stack and the line of `__main__`.

        Where Milepost was called to import or build an evaluation, what lies further out is no part of it.
        """
        files, line = set[str](), 0
        for frame in _frames(_caller()):
            whose = origin_of_frame(frame)
            if whose is USER:
                files.add(os.path.realpath(frame.f_code.co_filename))
                if _is_main(frame):
                    line = frame.f_lineno
            elif whose is MILEPOST and (attributed := self._attributing()) is not None:
                files.add(attributed)
                break
        return frozenset(files), line

    def _attributing(self) -> str | None:
        """Return the file that this thread's readings are attributed to, if any."""
        thread, file = self._attributed or (0, None)
        return file if thread == get_ident() else None


def _caller() -> FrameType | None:
    """Return the frame that an event comes from, beyond its handler and the hook; None in a thread without any."""
    return sys._getframe(2).f_back  # noqa: SLF001 - the documented way to the caller's frame


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and those that it was called from."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_main(frame: FrameType) -> bool:
    return frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == _MAIN


def _is_from_inside(name: str) -> bool:
    """Return whether a module's package is being imported now: most imports are those of packages' own modules.

    Python's import statement looks at the same mark, which other loaders may lack.
    """
    package = sys.modules.get(name.rpartition(".")[0])
    return bool(getattr(getattr(package, "__spec__", None), "_initializing", False))


def _archive_of(path: str) -> str | None:
    """Return the zip file that a module lies in, if it does."""
    parents = map(str, Path(path).parents)
    return next((parent for parent in parents if os.path.isfile(parent)), None)


def _modules_so_far() -> dict[str, int | None]:
    """Return the user's files that have run already, each with the line where it stands; None where it has ended."""
    named = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    own = [file for file in named if isinstance(file, str) and origin(file) is USER and os.path.isfile(file)]
    found: dict[str, int | None] = dict.fromkeys(map(os.path.realpath, own))
    for frame in _frames(_caller()):
        file = frame.f_code.co_filename
        # A notebook's cell has the name of a file that is not there.
        if origin_of_frame(frame) is USER and frame.f_code.co_name == "<module>" and os.path.isfile(file):
            found[os.path.realpath(file)] = frame.f_lineno
    return found


RECORDER = Recorder()
"""The one of this process."""
