"""Commands that a watch calls: for each new best checkpoint of a run, and for each that failed.

A command is started without a shell.  What it is about stands in its environment (`MILEPOST_PATH`), and in the place of
`{path}` and the like in its words.  Commands run one after the other beside the watch, each for a bounded time; what
becomes of one is a note, and never the end of the watch.
"""

import os
import queue
import re
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Self

from milepost.checkpoints.folders import own_folder
from milepost.core.types import Json
from milepost.errors import MilepostError, UsageError
from milepost.store.called_out import CalledOut

NAMES = ("path", "name", "run", "step", "variant", "metric", "data", "value", "class", "message")
"""What a command may ask for."""

_PLACEHOLDER = re.compile("{(" + "|".join(NAMES) + ")}")
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish", "csh", "tcsh"})
_GRACE_SECONDS = 5.0
_TAIL = 2000

Event = dict[str, Json]
Best = Callable[[str], Mapping[str, Any] | None]
"""Returns the record of the best checkpoint of a run, as `ls --json` shows it, None while there is none."""


@dataclass(frozen=True, slots=True)
class Command:
    """The words of a command, given with an option; placeholders stand for what it is called about."""

    option: str
    words: tuple[str, ...]

    @staticmethod
    def parse(option: str, text: str) -> "Command":
        """Split a text as a shell would; a UsageError says what is wrong with it.

        >>> Command.parse("--on-best", "cp {path} 'my best.pt'").filled({"path": "runs/a b.pt"})
        ['cp', 'runs/a b.pt', 'my best.pt']
        """
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            raise UsageError(f"{option} {text!r}: expected a command as for a shell ({error})") from error
        if not words:
            raise UsageError(f"{option}: expected a command, found nothing")
        shells = [place for place, word in enumerate(words) if os.path.basename(word) in _SHELLS]
        behind = words[shells[0] + 1 :] if shells else ()
        if any(map(_PLACEHOLDER.search, behind)) and any(re.fullmatch("-[a-z]*c", word) for word in behind):
            raise UsageError(
                f'{option}: a shell would run what stands in a file\'s name; write "$MILEPOST_PATH" in the place of '
                "{path}"
            )
        return Command(option, words)

    def filled(self, values: Mapping[str, str]) -> list[str]:
        """Return the words with the values in them; each stays one word."""
        return [_PLACEHOLDER.sub(lambda found: values.get(found[1], ""), word) for word in self.words]


class Callouts:
    """Takes the events of a watch, passes them on, and calls the commands that they ask for.

    `best` is asked at each checkpoint that is done.  A new best is called out by the watch that evaluated it.  What was
    called out last, with its command at an end, is in the store (`called`): a watch that was killed or stopped before
    that leaves its call to the next one, so that each best that stays the best is called out at least once.
    """

    def __init__(
        self,
        listen: Callable[[Event], None],
        best: Best,
        on_best: Command | None,
        on_failure: Command | None,
        timeout: float,
        called: Callable[[], CalledOut],
        here: Callable[[Mapping[str, Any]], bool] = lambda _: True,
    ) -> None:
        """Take what listens, and the commands; `called` opens the store, which is there once the watch has begun.

        `here` says whether the file of a record holds its weights now: a file that training overwrites may not.
        """
        self._listen, self._best, self._called, self._here = listen, best, called, here
        self._on_best, self._on_failure = on_best, on_failure
        self._lock = threading.Lock()
        self._commands = _Commands(timeout, self._note)
        self._bests: dict[str, object] = {}
        self._scored: set[str] = set()
        self._fresh = False
        self._failures: dict[str, Event] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the commands; where the watch was stopped, end them."""
        self._commands.close(drop=kind is not None)

    def __call__(self, event: Event) -> None:
        """Take one event."""
        with self._lock:
            self._listen(event)
        match event["event"], event.get("state"):
            case "record", _:
                self._scored.add(event["checkpoint"]["digest"])
                self._fresh = True
            case "failure", _:
                self._failures[str(event["path"])] = event
            case "checkpoint", "claimed" | "done" if self._on_best is not None:
                self._begin(str(event["run"]), self._on_best)
                if event["state"] == "done" and self._fresh:
                    self._fresh = False
                    self._done(str(event["run"]), self._on_best)
            case "checkpoint", "failed" | "vanished":
                self._failed(event)

    def _begin(self, run: str, on_best: Command) -> None:
        """Learn what was called out of a run, and call what an earlier watch has left."""
        if run in self._bests:
            return
        record: Mapping[str, Any] | None = None
        with suppress(MilepostError):  # nothing is on record yet
            record = self._best(run)
        digest = None if record is None else record["checkpoint"]["digest"]
        self._bests[run] = digest
        try:
            last = self._called().last(run)
            if last is None:  # what is on record before the first evaluation of the first watch that calls is no news
                self._called().put(run, digest)
            elif record is not None and digest != last["digest"]:
                self._call_best(run, on_best, record)
        except MilepostError as error:  # a store that cannot be written
            self._note(f"{on_best.option}: {error}")

    def _call_best(self, run: str, on_best: Command, record: Mapping[str, Any]) -> None:
        digest = record["checkpoint"]["digest"]
        self._commands.call(
            on_best,
            _values("best", record),
            lambda: self._called().put(run, digest),
            lambda: self._here(record),
        )

    def _done(self, run: str, on_best: Command) -> None:
        try:
            record = self._best(run)
        except MilepostError as error:
            self._note(f"{on_best.option}: {error}")
            return
        digest = None if record is None else record["checkpoint"]["digest"]
        if record is not None and digest != self._bests.get(run):
            self._bests[run] = digest
            if digest in self._scored:  # else another watch has evaluated it, and calls
                self._call_best(run, on_best, record)

    def _failed(self, event: Event) -> None:
        if self._on_failure is not None:
            failure = self._failures.pop(str(event["path"]), {})
            reason = {"class": event["state"], "message": event["reason"]}
            values = _values("failure", {**event, **reason, **failure})
            self._commands.call(self._on_failure, values, lambda: None, lambda: True)

    def _note(self, message: str) -> None:
        with self._lock:
            self._listen({"event": "note", "message": message})


def _values(kind: str, item: Mapping[str, Any]) -> dict[str, str]:
    """Return what a command may ask for, as text; "" for what is not known."""
    spread = {**item, **item.get("checkpoint", {})}
    spread["name"] = os.path.basename(str(spread.get("path") or ""))
    found = {name: "" if spread.get(name) is None else str(spread[name]) for name in NAMES}
    return {**found, "event": kind}


def _named(path: str) -> str:
    """Return what a note calls a checkpoint: its file, with the folder that is its own.

    >>> _named("runs/bert/checkpoint-500/model.safetensors"), _named("runs/lenet/step-9.pt")
    ('checkpoint-500/model.safetensors', 'step-9.pt')
    """
    own = own_folder(path)
    return os.path.basename(path) if own is None else os.path.relpath(path, os.path.dirname(own))


_ROLLING = "have training keep files that it does not overwrite, such as one a step"


@dataclass(frozen=True, slots=True)
class _Call:
    """A command with its values, what to do once it has run, and whether the file is what it is about."""

    command: Command
    values: dict[str, str]
    ended: Callable[[], None]
    holds: Callable[[], bool]


class _Commands:
    """Runs commands one after the other in a thread of its own."""

    def __init__(self, timeout: float, note: Callable[[str], None]) -> None:
        self._timeout, self._note = timeout, note
        self._waiting = queue.SimpleQueue[_Call | None]()
        self._thread: threading.Thread | None = None
        self._dropped = threading.Event()

    def call(
        self, command: Command, values: dict[str, str], ended: Callable[[], None], holds: Callable[[], bool]
    ) -> None:
        """Have a command run when its turn comes, and `ended` called once it has; not where the watch was stopped.

        `holds` says whether the file is still what the command is about: it is not run on another one.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="milepost-callouts", daemon=True)
            self._thread.start()
        self._waiting.put(_Call(command, values, ended, holds))

    def close(self, *, drop: bool) -> None:
        """Wait until all have run; `drop`: end the one that runs, and leave out the others."""
        if drop:
            self._dropped.set()
        if self._thread is not None:
            self._waiting.put(None)
            try:
                self._thread.join()
            except BaseException:  # Ctrl-C while it waits
                self._dropped.set()
                self._thread.join()
                raise

    def _work(self) -> None:
        while (called := self._waiting.get()) is not None:
            if not self._dropped.is_set():
                outcome = self._turn(called)
                self._note(f"{called.command.option} ({_named(called.values['path'])}): {outcome}")

    def _turn(self, called: "_Call") -> str:
        """Run a command on the file that it is about, and return what became of it."""
        if not called.holds():
            return f"not run: the file was overwritten before; {_ROLLING}"
        outcome = self._run(called.command, called.values)
        if self._dropped.is_set():
            return outcome
        if not called.holds():
            return f"{outcome}, but the file was overwritten meanwhile: what the command saw is unknown; {_ROLLING}"
        try:
            called.ended()
        except MilepostError as error:  # the store is full, or gone: the next watch calls again
            return f"{outcome}; {error}"
        return outcome

    def _run(self, command: Command, values: dict[str, str]) -> str:
        """Run a command, and return what became of it."""
        environment = os.environ | {f"MILEPOST_{name.upper()}": _clean(value) for name, value in values.items()}
        words = [_clean(word) for word in command.filled(values)]
        started = time.monotonic()
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - the user's own command, without a shell
                    words,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                return f"cannot be started: {error}"
            ended = self._wait(process, started + self._timeout)
            took = f"{time.monotonic() - started:.1f} s"
            if not ended:
                _end(process)
                return f"was ended after {took}{_tail(output)}"
            return f"done in {took}" if not process.returncode else f"exit code {process.returncode}{_tail(output)}"

    def _wait(self, process: subprocess.Popen[bytes], until: float) -> bool:
        """Wait for a process; False where its time is over, or the watch was stopped."""
        while time.monotonic() < until and not self._dropped.is_set():
            with suppress(subprocess.TimeoutExpired):
                process.wait(min(0.2, max(0.0, until - time.monotonic())))
                return True
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started, first by asking."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)


def _clean(text: str) -> str:
    return text.replace("\0", "?")  # neither words nor variables can hold it


def _tail(output: IO[bytes]) -> str:
    """Return the end of what a command has printed, as one line."""
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _TAIL))
    lines = output.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {last}" if last else ""
