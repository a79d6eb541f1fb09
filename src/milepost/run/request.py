"""What a run is asked for, checked, and the engine that it names, opened."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from milepost.checkpoints._files.own import read_beside
from milepost.checkpoints._files.shards import from_prefix, shards_of
from milepost.checkpoints.folders import own_folder
from milepost.core.sessions import Engine, Session
from milepost.core.types import CheckpointFiles, Job, Json
from milepost.errors import UsageError
from milepost.evaluation.definition import Evaluation
from milepost.evaluation.loader import check_not_loading
from milepost.registry import load
from milepost.run.events import Listen


@dataclass(frozen=True, slots=True)
class Request:
    """What to run: checkpoints (files or folders), a store, an evaluation by file or live, and how.

    `timeout` is how many seconds a process may give no sign of life; None waits for ever, as this process does.
    """

    checkpoints: tuple[str, ...]
    store: str
    file: str | None = None
    attribute: str = "evaluation"
    live: Evaluation | None = None
    match: str | None = None
    limit: int | None = None
    data: str | None = None
    device: str | None = None
    engine: str = "local"
    again: bool = False
    per_pass: int = 4
    allow_missing: bool = False
    timeout: float | None = 1800.0
    workers: int = 1


def report_sandbox(session: Session, listen: Listen) -> None:
    """Report what the process that reads checkpoints lacks of its sandbox, if anything."""
    if warning := session.sandbox_warning():
        listen({"event": "note", "message": warning})


def open_session(request: Request) -> Session:
    """Check a request and open the engine that it names; raises UsageError for what is off."""
    check_not_loading()
    _check(request)
    options: dict[str, Json] = {"device": request.device} if request.device else {}
    if request.allow_missing:
        options["allow_missing"] = True
    if request.timeout is not None:
        options["timeout"] = request.timeout
    if request.workers > 1:
        options["workers"] = request.workers
    if request.file is not None:
        options["readable"] = [*_reached(request.checkpoints), os.path.join(request.store, "pins")]
    job = Job(request.file, request.attribute, options, request.live)
    engine: Engine = load("engines", request.engine)()
    return engine.open(job)


def _reached(paths: Sequence[str]) -> list[str]:
    """Return what is read where these are named: a checkpoint's main file brings its shards and what lies beside it."""
    meant = [from_prefix(path) for path in paths]
    files = [os.path.abspath(path) for path in meant if os.path.isfile(path)]
    return [*meant, *(other for path in files for other in (*shards_of(path), *read_beside(path)))]


def _check(request: Request) -> None:
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"--limit {request.limit}: expected 1 or more rows")
    if request.per_pass < 1:
        raise UsageError(f"--per-pass {request.per_pass}: expected 1 or more checkpoints")
    if request.workers < 1 or (request.workers > 1 and request.engine == "inprocess"):
        raise UsageError(
            f"--workers {request.workers}: expected 1 or more processes, and 1 where the evaluation runs in this one"
        )
    if request.timeout is not None and not request.timeout > 0:
        raise UsageError(f"timeout={request.timeout}: expected seconds above 0, or None to wait for ever")
    if not request.checkpoints:
        raise UsageError("no checkpoints were named; expected files or folders")


def check_place(store: str, named: Sequence[str], checkpoints: Sequence[CheckpointFiles]) -> None:
    """Refuse a store within a named folder, or within a checkpoint's own: training deletes and rotates there.

    Beside single files that were named is the user's own place.
    """
    above = {str(folder) for folder in Path(store).resolve().parents}
    paths = [*map(os.path.abspath, named), *(found.path for found in checkpoints)]
    training = [*paths, *filter(None, map(own_folder, paths))]
    for folder in dict.fromkeys(map(os.path.realpath, training)):
        if folder in above:
            raise UsageError(
                f"the store {store} would lie in the training folder {folder}; name another place with --store"
            )
