"""Every error that Milepost raises: a `UsageError` ends a command (exit code 2), a `CheckpointError` is a row.

A message says where, what was expected, what was found, and what to do.  The tree::

    MilepostError
        UsageError              MissingExtra, EvaluationFileError, StoreError (StoreFull)
        DataError               UnstableData
        CheckpointError
            of the file         Torn, Corrupt, Outside, Unsafe, Program, Unsupported, Mismatch, NonfiniteWeights,
                                Vanished
            of the model        StochasticModel, ModelFailed
            of the process      OutOfMemory, Crashed, TimedOut
            of the store        NoSpace
"""

# ruff: noqa: N818 - the names say what is wrong

from typing import ClassVar

from milepost.core.escaping import one_line, printable

_LONGEST = 10_000  # characters of a message


class MilepostError(Exception):
    """The root: catch this to catch all of Milepost's own errors."""


class UsageError(MilepostError):
    """The call or the command is off; nothing was done."""


class MissingExtra(UsageError):
    """An optional dependency is not installed; the message holds the pip line."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; it comes with: pip install 'milepost[{extra}]'")


class EvaluationFileError(UsageError):
    """The evaluation file is missing, fails on import, or holds no `evaluation`."""


class StoreError(UsageError):
    """The store is missing, of another format version, or cannot be written."""


class StoreFull(StoreError):
    """There is no room for what was to be put into the store."""


class DataError(MilepostError):
    """The held-out data is unusable: empty, of wrong lengths, labels out of range."""


class UnstableData(DataError):
    """Two passes over the data differ."""

    kind: ClassVar[str] = "unstable data"


class CheckpointError(MilepostError):
    """One checkpoint failed; it becomes a row of its kind.

    `retry` tells whether a later run tries the same file again without being asked; `advice` what to do, in a line.
    `several_lines`: the message may hold a traceback or what a process has printed; else it is one line.
    """

    kind: ClassVar[str] = "failed"
    retry: ClassVar[bool] = False
    several_lines: ClassVar[bool] = False
    advice: ClassVar[str] = "read the message; `milepost failures --retry` has it tried again once its cause is gone"

    def __init__(self, message: str = "") -> None:
        """Keep the message as far as it is fit to print: names in it come from files, and must not steer a terminal."""
        more = f" [{len(message) - _LONGEST:,} characters more]" if len(message) > _LONGEST else ""
        fit = printable if self.several_lines else one_line
        super().__init__(fit(message[:_LONGEST]) + more)


class Torn(CheckpointError):
    """Still being written, or cut off; the message says what is missing."""

    kind = "torn"
    retry = True
    advice = (
        "nothing while it is being written: the next run tries it again; else copy it again from where it is whole, or "
        "delete it"
    )


class Corrupt(CheckpointError):
    """A checksum or the structure is wrong."""

    kind = "corrupt"
    advice = "copy it again from where it is whole, or delete it: the bytes are not what was written"


class Outside(CheckpointError):
    """A symbolic link leads out of the named folders: it was not followed, so its file was not looked at."""

    kind = "outside"
    retry = True
    advice = "name the link beside its folder: `milepost run EVALUATION FOLDER LINK`; or remove the link"


class Unsafe(CheckpointError):
    """Reading it would mean running code from it."""

    kind = "unsafe"
    advice = "save it as plain tensors (a state_dict, safetensors): nothing of it was run"


class Program(CheckpointError):
    """It is a program (TorchScript, an exported graph), not a table of tensors."""

    kind = "program"
    advice = "save the weights (a state_dict) beside the exported program, and evaluate those"


class Unsupported(CheckpointError):
    """It is whole, but of a kind that Milepost does not read, or holds such a tensor, which the model needs."""

    kind = "unsupported"
    advice = "do as the message says; tensors that it holds: save them as plain ones, in an ordinary dtype and layout"


class Mismatch(CheckpointError):
    """Its tensors do not fit the model's variables one to one."""

    kind = "mismatch"
    advice = "build the very model that was trained, or map the names: `milepost inspect` lists what the file holds"


class NonfiniteWeights(CheckpointError):
    """NaN or infinity among the restored weights."""

    kind = "nonfinite weights"
    advice = "look at training before this step: it diverged, and the checkpoint has nothing to tell"


class StochasticModel(CheckpointError):
    """Two predictions of the same batch differ, or depend on the batch."""

    kind = "stochastic model"
    several_lines = True
    advice = "put the model into evaluation mode: no dropout, no batch statistics, no random numbers"


class OutOfMemory(CheckpointError):
    """The model, its weights or its outputs do not fit into memory."""

    kind = "out of memory"
    several_lines = True
    retry = True
    advice = "a smaller batch_size or fewer --per-pass; the next run tries it again"


class Crashed(CheckpointError):
    """The process that evaluated it died."""

    kind = "crashed"
    several_lines = True
    retry = True
    advice = "read the last lines above; the next run tries it again, alone"


class TimedOut(CheckpointError):
    """The process that evaluated it gave no sign of life in time."""

    kind = "timeout"
    several_lines = True
    retry = True
    advice = "a longer --timeout, or find what hangs; the next run tries it again"


class ModelFailed(CheckpointError):
    """The user's model, or its framework, raised an error of its own."""

    kind = "model error"
    several_lines = True
    advice = "mend the evaluation file: the error above is its own, or its framework's"


class Vanished(CheckpointError):
    """Deleted before it could be evaluated."""

    kind = "vanished"
    retry = True
    advice = "let training keep more checkpoints, or start the watch before training"


class NoSpace(CheckpointError):
    """Its results, or what leads to them, found no room in the store; nothing of it is on record."""

    kind = "no space"
    retry = True
    advice = "free some room where the store is: the next run, or the watch that goes on, does it"


def checkpoint_error(kind: str, message: str = "") -> CheckpointError:
    """Build the error of a kind's name, as it came out of a store or from another process.

    >>> checkpoint_error("torn", "12 bytes missing"), checkpoint_error("torn").retry
    (Torn('12 bytes missing'), True)
    """
    return next((item for item in CheckpointError.__subclasses__() if item.kind == kind), CheckpointError)(message)
