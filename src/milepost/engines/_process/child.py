"""A child process as its driver sees it: started, read from, ended with everything that it started itself."""

import codecs
import contextlib
import io
import os
import re
import select
import signal
import site
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from milepost._internal.process import processor_seconds
from milepost.engines._process.parent_death import DUMP_SIGNAL

_TAIL_CHARACTERS = 16384
_TAIL_LINES = 10
_GRACE_SECONDS = 5.0
_POLL_MILLISECONDS = 200
_LINE_CHARACTERS = 300
_STACK = "(most recent call first):"
_STACK_LINES = 12
_STACK_SECONDS = 2.0


class Unresponsive(Exception):  # noqa: N818 - no error of ours to show: whoever asked turns it into one
    """The child was waited for longer than its timeout."""


class Child:
    """One process: `requests` is its standard input, written whole and at once, `replies` its standard output.

    `replies` end when the process dies, even where a grandchild still holds the pipe.

    What it writes on standard error goes to ours as it comes; the last lines are kept for the report on its exit.
    `signalled` tells, once its exit was reported, whether a signal ended it, not a call of its own nor we.
    It has a session of its own, so that Ctrl-C in a terminal reaches the driver alone.  `timeout` is how many seconds
    it may be silent while it is read from, or leave unread what it was sent: then `Unresponsive` is raised; None waits.
    `allow_processor` sets how much processor time it may take until the next call.
    """

    def __init__(self, role: str, *module: str) -> None:
        """Start `python -m MODULE ARGUMENT...`; `role` names the process in messages."""
        self.role = role
        self.timeout: float | None = None
        self._processor: tuple[float, float] | None = None  # what was allowed, and the time that it ends at
        self.signalled = False
        self._command = [sys.executable, "-P", "-m", *module]
        self._tail = ""
        self._ended = False
        self._started = threading.Event()
        self._error: OSError | None = None
        self._starved = _oom_kills()
        # Linux kills a child on a leash when the thread that started it ends: that thread lives as long as the child.
        self._keeper = threading.Thread(target=self._keep, name=f"milepost-{role}", daemon=True)
        self._keeper.start()
        try:
            self._started.wait()
        except BaseException:
            self._started.wait()
            if self._error is None:
                self.kill()
            raise
        if self._error is not None:
            raise self._error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def starved(self) -> bool:
        """Whether it was killed, and the kernel has killed somebody for lack of memory since it was started."""
        return self._process.returncode == -signal.SIGKILL and _oom_kills() > self._starved

    def exit_report(self) -> str:
        """End the process if it lives, and return how it died, with the last lines that it wrote."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.signalled = self._process.wait(_GRACE_SECONDS) < 0
        self.kill()
        return f"the {self.role} process {self.pid} died with {_ending(self._process.returncode)}{self._last_lines()}"

    def timeout_report(self) -> str:
        """Have the process dump its stack, end it, and return that it gave no sign of life, with the stack."""
        what = (
            f"took more than {self._processor[0]:.0f} s of processor time and was ended (--timeout allows others)"
            if self.processor_spent and self._processor
            else f"gave no sign of life for {self.timeout:g} s and was ended (--timeout)"
        )
        self._dump_stack()
        self.kill()
        return f"the {self.role} process {self.pid} {what}{self._last_lines()}"

    def allow_processor(self, seconds: float | None) -> None:
        """Allow it so much processor time from now on; None allows any, as where the system does not say it."""
        used = processor_seconds(self.pid) if seconds is not None else None
        self._processor = None if seconds is None or used is None else (seconds, used + seconds)

    @property
    def processor_spent(self) -> bool:
        """Whether it took more processor time than it was allowed."""
        return self._processor is not None and (processor_seconds(self.pid) or 0) > self._processor[1]

    def close(self) -> None:
        """End the process: ask it by the end of its input, then kill it and what it started."""
        with contextlib.suppress(OSError):
            self.requests.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kill the process and what it started; a second call does nothing."""
        if self._ended:
            return
        self._ended = True
        # Its group outlives it where it left children, and its number is not given away while the group exists.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # One that hangs in the kernel (a file system that does not answer) dies when that lets it go.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        with contextlib.suppress(OSError):
            self.requests.close()
        self.replies.close()
        self._keeper.join(_GRACE_SECONDS)

    def alive(self) -> bool:
        return self._process.poll() is None

    def _keep(self) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                self._command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
                start_new_session=True,
            )
            self.requests = cast("IO[bytes]", _Requests(self, self._process.stdin))
            self.replies = io.BufferedReader(_Replies(self, self._process.stdout, select.POLLIN), 1 << 16)
        except OSError as error:
            self._error = error
            return
        finally:
            self._started.set()
        self._pass_on()
        self._process.wait()

    def _pass_on(self) -> None:
        stream = self._process.stderr
        assert stream is not None  # noqa: S101 - it was opened as a pipe
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        with stream:
            while data := os.read(stream.fileno(), 1 << 16):
                text = decoder.decode(data)
                self._tail = (self._tail + text)[-_TAIL_CHARACTERS:]
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.write(text)
                    sys.stderr.flush()

    def _dump_stack(self) -> None:
        """Ask the process for its stack, and wait until it has come, or too long."""
        before = self._tail.count(_STACK)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self._process.pid, DUMP_SIGNAL)
        seen, end = "", time.monotonic() + _STACK_SECONDS
        while time.monotonic() < end and self.alive():
            time.sleep(_POLL_MILLISECONDS / 1000)
            if self._tail.count(_STACK) > before and seen == self._tail:
                return
            seen = self._tail

    def _last_lines(self) -> str:
        lines = [
            line if len(line) <= _LINE_CHARACTERS else f"{line[:_LINE_CHARACTERS]} ..."
            for line in _relevant(self._tail.rstrip().splitlines())
        ]
        return "\n".join(["; the last lines it wrote:", *lines]) if lines else "; it wrote nothing"


class _Pipe(io.RawIOBase):
    """One of the child's standard streams; no wait for it is longer than the child's timeout."""

    def __init__(self, child: Child, stream: IO[bytes] | None, event: int) -> None:
        assert stream is not None  # noqa: S101 - it was opened as a pipe
        self._child = child
        self._stream = stream
        self._poll = select.poll()
        self._poll.register(stream.fileno(), event)

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _check_timeout(self, begun: float) -> None:
        late = self._child.timeout is not None and time.monotonic() - begun > self._child.timeout
        if late or self._child.processor_spent:
            raise Unresponsive


class _Requests(_Pipe):
    """The child's standard input, which writes everything."""

    def __init__(self, child: Child, stream: IO[bytes] | None) -> None:
        super().__init__(child, stream, select.POLLOUT)
        os.set_blocking(self._stream.fileno(), False)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        left = memoryview(data).cast("B")
        begun = time.monotonic()
        while left:
            try:
                written = os.write(self._stream.fileno(), left)
            except BlockingIOError:
                self._poll.poll(_POLL_MILLISECONDS)
                self._check_timeout(begun)
                continue
            left, begun = left[written:], time.monotonic()
        return len(data)


class _Replies(_Pipe):
    """The child's standard output, which also ends when the child does."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        begun = time.monotonic()
        while not self._poll.poll(_POLL_MILLISECONDS):
            if not self._child.alive() and not self._poll.poll(0):
                return 0
            self._check_timeout(begun)
        return os.readv(self._stream.fileno(), [buffer])


def _oom_kills() -> int:
    """Return how often the kernel killed a process for lack of memory: of our control group, else of the machine."""
    for file in (*_group_files(), "/proc/vmstat"):
        with contextlib.suppress(OSError):
            count = re.search(r"^oom_kill (\d+)$", Path(file).read_text(encoding="ascii"), re.MULTILINE)
            if count:
                return int(count[1])
    return 0


def _group_files() -> Iterator[str]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds in ("memory", ""):
                name = "memory.oom_control" if kinds else "memory.events.local"
                yield f"/sys/fs/cgroup/{kinds}{path}/{name}"


def _relevant(lines: list[str]) -> list[str]:
    """Return the last lines; of a process that dumped its stack, which begins where it was, the stack's first ones."""
    begin = next((number for number in reversed(range(len(lines))) if _STACK in lines[number]), None)
    if begin is None:
        return lines[-_TAIL_LINES:]
    stack = [line for line in lines[begin + 1 : begin + 1 + _STACK_LINES] if line.startswith("  ")]
    return [*lines[max(0, begin - 4) : begin + 1], *stack]


def _ending(code: int | None) -> str:
    if code is None:
        return "no end: it does not even react to being killed"
    if code >= 0:
        return f"exit code {code}"
    known = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
    # Who sent it is not known: the kernel's log names whom it killed for lack of memory.
    hint = ", killed from outside: perhaps memory ran out" if -code == signal.SIGKILL else ""
    return f"signal {-code} ({known}){hint}"


def _environment() -> dict[str, str]:
    # The child must import the same Milepost; where it is installed, it will, and the path stays as it is.
    root = str(Path(__file__).resolve().parents[3])
    environment = dict(os.environ)
    if sys.flags.utf8_mode:  # names must mean the same files to both
        environment["PYTHONUTF8"] = "1"
    if root not in [*site.getsitepackages(), site.getusersitepackages()]:
        paths = [*environment.get("PYTHONPATH", "").split(os.pathsep), root]
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
    return environment
