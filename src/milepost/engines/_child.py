"""A child process as its driver sees it: started, listened to, ended with everything that it started itself."""

import codecs
import contextlib
import io
import os
import select
import signal
import site
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

_TAIL_CHARACTERS = 8192
_TAIL_LINES = 10
_GRACE_SECONDS = 5.0
_LOOK_MILLISECONDS = 200


class Child:
    """One process: `requests` is its standard input, `replies` its standard output.

    What it writes on standard error goes to ours as it comes; the last lines are kept for the message about its death.
    It has a session of its own, so that Ctrl-C in a terminal reaches the driver alone.
    """

    def __init__(self, role: str, *module: str) -> None:
        """Start `python -m MODULE ARGUMENT...`; `role` names the process in messages."""
        self.role = role
        self._command = [sys.executable, "-P", "-m", *module]
        self._tail = ""
        self._ended = False
        self._started = threading.Event()
        self._error: OSError | None = None
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
        """The number of the process."""
        return self._process.pid

    @property
    def requests(self) -> IO[bytes]:
        """What the child reads."""
        assert self._process.stdin is not None  # noqa: S101 - it was opened as a pipe
        return self._process.stdin

    @property
    def replies(self) -> io.BufferedIOBase:
        """What the child writes; ends when it dies, even where a grandchild still holds the pipe."""
        return self._replies

    def obituary(self) -> str:
        """End the process if it lives, and say how it died, with the last lines that it wrote."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        self.kill()
        code = self._process.returncode
        how = f"signal {-code} ({_signal_name(-code)})" if code < 0 else f"exit code {code}"
        lines = self._tail.rstrip().splitlines()[-_TAIL_LINES:]
        said = "\n".join(["; the last lines it wrote:", *lines]) if lines else "; it wrote nothing"
        return f"the {self.role} process {self.pid} died with {how}{said}"

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
        self._process.wait()
        with contextlib.suppress(OSError):
            self.requests.close()
        self._replies.close()
        self._keeper.join(_GRACE_SECONDS)

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def _keep(self) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
                start_new_session=True,
            )
            self._replies: io.BufferedIOBase = io.BufferedReader(_Replies(self), 1 << 16)
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


class _Replies(io.RawIOBase):
    """The child's standard output, which also ends when the child does."""

    def __init__(self, child: Child) -> None:
        self._child = child
        stream = child._process.stdout  # noqa: SLF001 - the two are one
        assert stream is not None  # noqa: S101 - it was opened as a pipe
        self._stream = stream
        self._poll = select.poll()
        self._poll.register(stream.fileno(), select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._poll.poll(_LOOK_MILLISECONDS):
            if not self._child.alive() and not self._poll.poll(0):
                return 0
        return os.readv(self._stream.fileno(), [buffer])

    def close(self) -> None:
        self._stream.close()
        super().close()


def _environment() -> dict[str, str]:
    # The child must import the same Milepost; where it is installed, it will, and the path stays as it is.
    root = str(Path(__file__).resolve().parents[2])
    environment = dict(os.environ)
    if root not in [*site.getsitepackages(), site.getusersitepackages()]:
        paths = [*environment.get("PYTHONPATH", "").split(os.pathsep), root]
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
    return environment


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
