"""Finding checkpoints under paths: by content, whatever their names; names count only for what no format claims."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatch

from milepost._internal import zip as zip_codec
from milepost._internal.bounded import dangling, gone, kind_of, opened, unreadable
from milepost._internal.bounded import is_hidden as is_out_of_sight
from milepost._internal.budget import glancing
from milepost._internal.fileid import identity, is_changed
from milepost._internal.text import natural
from milepost.checkpoints._files.links import leads_out, place_of, refused, roots_of
from milepost.checkpoints._files.near import absent
from milepost.checkpoints._files.shards import SAVED_MODEL, from_prefix, identities, main_file
from milepost.checkpoints.diagnosis import diagnose, folder_diagnosis
from milepost.checkpoints.folders import is_unfinished
from milepost.checkpoints.names import (
    ENDINGS,
    INDEX,
    UNKNOWN,
    checkpoint_name,
    hf_index,
    is_candidate,
    is_companion,
    is_hidden,
)
from milepost.checkpoints.others.recognition import Diagnosis, search
from milepost.core.escaping import one_line
from milepost.core.protocols import Format
from milepost.core.types import CheckpointFiles, Identity
from milepost.errors import CheckpointError, Corrupt, MilepostError, Outside, Torn, UsageError, Vanished
from milepost.registry import classes

_HEAD = 4096
_DEPTH = 64
_STORE_MARK = "store.json"


@dataclass(slots=True)
class ListedFile:
    """One entry of a listing; `problem` says why it could not be read, `asked` that it was named by itself."""

    path: str
    is_dir: bool
    head: bytes = b""
    tail: bytes = b""
    status: os.stat_result | None = None
    problem: CheckpointError | None = None
    asked: bool = False


def find(paths: Sequence[str], match: str | None = None) -> list[CheckpointFiles]:
    """Return every checkpoint under the paths, in natural order of path (`step-9` before `step-10`).

    A path is a file, a folder or a TensorFlow prefix.  Folders are searched recursively; hidden ones, those that a
    trainer renames once they are whole (`tmp-checkpoint-500`) and Milepost's own stores are skipped.  Symbolic links
    are followed, to a folder once at most on the way down, so that no circle is walked; a link that leads out of all
    named paths is a failed row, unless it was named itself.  `match` is a pattern for the file's name or its path
    within the folder.  A file that is named like a checkpoint and that no format claims has `format` None and a failure
    that says why.  Raises `UsageError` for a path that does not exist.
    """
    formats = [kind() for _, kind in sorted(classes("checkpoints.formats").items())]
    found: dict[str, CheckpointFiles] = {}
    roots = roots_of(paths)
    for path in paths:
        meant = os.path.abspath(from_prefix(path))
        for one in _under(meant, path, formats, roots):
            if match is None or matches(one.path, meant, match):
                found.setdefault(one.path, one)
    if not any(one.format for one in found.values()):  # then whatever lies there in place of checkpoints is named
        others = {one.path: one for path in paths for one in _others(os.path.abspath(path), match)}
        found |= {path: one for path, one in others.items() if not {path, os.path.dirname(path)} & found.keys()}
    return sorted(found.values(), key=lambda one: natural(one.path))


def matches(path: str, root: str, pattern: str) -> bool:
    """Return whether a checkpoint's name, its file's or its path below the root fits a pattern, also without `.index`.

    >>> matches("/run/a/m.ckpt-40.index", "/run", "*-40"), matches("/run/a/step-1.npz", "/run", "b/*")
    (True, False)
    >>> matches("/run/a/checkpoint-500/model.safetensors", "/run", "checkpoint-5*")
    True
    """
    texts = os.path.basename(path), os.path.relpath(path, root), checkpoint_name(path)
    return any(fnmatch(text, pattern) or fnmatch(text.removesuffix(INDEX), pattern) for text in texts)


def looked_for() -> str:
    """Return a sentence on what `find` recognises, for the error that nothing was found."""
    known = ", ".join(sorted(classes("checkpoints.formats")))
    return (
        f"looked for files in one of the formats {known}, and for files named like a checkpoint "
        f"({', '.join(ENDINGS)}); skipped hidden folders, files without weights "
        "(settings, metrics, optimizers, random states), and Milepost stores"
    )


def would_search(files: CheckpointFiles) -> bool:
    """Return whether a search of its folder would list a file that was named by itself.

    A file that is named is always listed; one that lies in a folder only if it is a checkpoint or is named like one.
    """
    if _is_passed_over(files):
        return False
    return files.format is not None or os.path.isdir(files.path) or is_candidate(os.path.basename(files.path))


def _is_passed_over(files: CheckpointFiles) -> bool:
    return files.failure is not None and files.failure[1].endswith(UNKNOWN)


def is_store(names: Sequence[str]) -> bool:
    """Tell by its entries whether a folder is a store of Milepost's, which is not searched."""
    return _STORE_MARK in names


def is_whole(path: str, names: Sequence[str]) -> bool:
    """Tell by its entries whether a folder is one checkpoint as a whole."""
    return SAVED_MODEL in names or folder_diagnosis(path, names) is not None


def _under(path: str, given: str, formats: Sequence[Format], roots: Sequence[str]) -> Iterator[CheckpointFiles]:
    try:
        status = os.stat(path)
    except OSError as error:
        if is_out_of_sight(path):
            why = unreadable(path, error)
            yield _row(path, (path,), identity(os.lstat(path)), (why.kind, str(why)))
            return
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise UsageError(f"{given}: {dangling(path) or absent(path)}") from error
        raise UsageError(f"{given}: {error.strerror or error}") from error
    if not stat.S_ISDIR(status.st_mode):
        yield from _claimed([entry_of(path, asked=True)], formats)
        return
    whole = list(_claimed([ListedFile(path, is_dir=True, status=status)], formats))
    yield from whole or _folder(path, formats, roots, ((status.st_dev, status.st_ino),), linked=False)


def _folder(
    path: str, formats: Sequence[Format], roots: Sequence[str], around: tuple[tuple[int, int], ...], *, linked: bool
) -> Iterator[CheckpointFiles]:
    try:
        with os.scandir(path) as listing:
            every = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        shut = _shut(path, error)
        if shut:
            yield shut
        return
    names = [entry.name for entry in every]
    if is_store(names):
        return
    why = folder_diagnosis(path, names)
    if why:
        yield _row(path, (), identity(os.stat(path)), why)
        return
    entries = [entry for entry in every if not is_hidden(entry.name)]
    links = [
        entry.path for entry in entries if entry.is_symlink() and (_is_ordinary(entry) or is_out_of_sight(entry.path))
    ]
    out = [path for path in links if leads_out(path, roots)]
    yield from refused(out, roots)
    entries = [entry for entry in entries if entry.path not in out]
    odd: list[CheckpointFiles] = []
    items = list(_items(entries, odd, roots))
    claimed = list(_claimed(items, formats))
    yield from (*claimed, *odd)
    taken = {one.path for one in claimed}
    for item in items:
        unfinished = is_unfinished(os.path.basename(item.path))
        if item.is_dir and item.path not in taken and item.status is not None and not unfinished:
            key = (item.status.st_dev, item.status.st_ino)
            link = os.path.islink(item.path)
            if key not in around and not (link and linked) and len(around) < _DEPTH:
                yield from _folder(item.path, formats, roots, (*around, key), linked=linked or link)


def _is_ordinary(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_file() or entry.is_dir()
    return False


def _items(
    entries: Sequence[os.DirEntry[str]], odd: list[CheckpointFiles], roots: Sequence[str]
) -> Iterator[ListedFile]:
    """Yield files and folders; add to `odd` the rows of links to nothing, pipes and devices named like checkpoints."""
    for entry in entries:
        try:
            status = entry.stat()
            if stat.S_ISDIR(status.st_mode):
                yield ListedFile(entry.path, is_dir=True, status=status)
                continue
            if stat.S_ISREG(status.st_mode):
                if not is_companion(entry.name):
                    yield entry_of(entry.path, roots=roots)
                continue
            why: CheckpointError = Corrupt(f"{entry.path}: {kind_of(status)}, not a file")
        except FileNotFoundError:
            vanished = gone(entry.path)
            if vanished is None:  # gone since it was listed
                continue
            why = vanished
        except OSError as error:
            why = unreadable(entry.path, error)
        if is_candidate(entry.name):
            with suppress(OSError):  # gone since
                odd.append(_row(entry.path, (entry.path,), identity(os.lstat(entry.path)), (why.kind, str(why))))


def _shut(path: str, error: OSError) -> CheckpointFiles | None:
    """Return the row of a folder that may not be listed, so that its checkpoints are not missed in silence."""
    try:
        now = identity(os.stat(path))
    except OSError:
        return None
    why = f"{path}: the folder cannot be listed, so its checkpoints are unknown: {error.strerror or error}; chmod g+rx"
    return _row(path, (), now, (Corrupt.kind, why))


def entry_of(path: str, *, asked: bool = False, roots: Sequence[str] = ()) -> ListedFile:
    """Return a file as formats get it; an error in reading it becomes its `problem`.

    So does its place outside of all `roots`, where there are any: a link may have been exchanged since the listing.
    """
    item = ListedFile(path, is_dir=False, asked=asked)
    try:
        item.status = os.stat(path)
        if not stat.S_ISREG(item.status.st_mode):  # opening a device may do something
            raise Corrupt(f"{path}: {kind_of(item.status)}, not a file")
        with opened(path) as file:
            item.status = os.fstat(file.descriptor)
            if roots and (outside := place_of(file, roots)):
                raise Outside(f"{path}: leads to {outside}, outside of the named folders; it was not read")
            item.head = file.at(0, min(_HEAD, file.size), "its beginning")
            size = min(8, file.size)
            item.tail = file.at(file.size - size, size, "its end")
    except CheckpointError as error:
        item.problem = error
    except OSError as error:
        item.problem = unreadable(path, error)
    return item


def _claimed(items: Sequence[ListedFile], formats: Sequence[Format]) -> Iterator[CheckpointFiles]:
    # A shard is a whole file of its format: only the index knows it.
    readable = [item for item in items if item.problem is None and not hf_index(os.path.basename(item.path))]
    asked = {item.path for item in items if item.asked}
    looked = {item.path: identity(item.status) for item in items if not item.is_dir and item.status is not None}
    taken: set[str] = set()
    for one in formats:
        free = [item for item in readable if item.path not in taken]
        for files in _asked(one, free):
            if files.path in taken:
                continue
            taken.update((files.path, *files.paths))
            if files.path in asked or not _is_passed_over(files):
                now = looked.get(main_file(files), files.identity)
                others = tuple(looked.get(path) or _identity_or_none(path) for path in files.paths[1:])
                yield _as_looked_at(replace(files, identity=now, others=others))
    for item in items:
        if not item.is_dir and item.path not in taken:
            failed = _failed(item)
            if failed:
                yield failed


def _as_looked_at(files: CheckpointFiles) -> CheckpointFiles:
    """Return a checkpoint as "writing" where a file of it changed since its beginning was read.

    What is whole by now may have been claimed by that, under the identity of what was not.
    """
    with suppress(OSError):
        if files.state != "complete" or not any(is_changed(*one) for one in identities(files).items()):
            return files
    return replace(files, state="writing")


def _identity_or_none(path: str) -> Identity:
    with suppress(OSError):
        return identity(os.stat(path))
    return Identity(0, 0, 0, 0, 0)


def _asked(one: Format, items: Sequence[ListedFile]) -> list[CheckpointFiles]:
    """Ask a format about a whole folder; where it raises, or a file vanishes, ask about each file by itself."""
    try:
        return list(one.find(items))
    except Exception:  # noqa: BLE001 - asked again below, file by file
        found: list[CheckpointFiles] = []
        for item in items:
            try:
                found.extend(one.find([item]))
            except OSError as error:
                item.problem = unreadable(item.path, error)
            except CheckpointError as error:
                item.problem = error
            except MilepostError:
                raise
            except Exception as error:  # noqa: BLE001 - one odd file is a row, never the end of a run
                why = f"format {one.name} could not make sense of it: {type(error).__name__}: {error}"
                item.problem = Corrupt(f"{item.path}: {why}")
        return found


def _failed(item: ListedFile) -> CheckpointFiles | None:
    listed = item.asked or is_candidate(os.path.basename(item.path))
    if item.status is None or isinstance(item.problem, Vanished) or not listed:
        return None
    why: Diagnosis | None
    if item.problem is not None:
        why = item.problem.kind, str(item.problem)
    else:
        why = _torn_zip(item) or diagnose(item.path, item.head, item.tail, item.status.st_size)
    if why is None and item.asked:
        why = "corrupt", f"{item.path}: {UNKNOWN}"
    row = None if why is None else _row(item.path, (item.path,), identity(item.status), why)
    return None if row is None or (_is_passed_over(row) and not item.asked) else row


def _others(folder: str, match: str | None) -> Iterator[CheckpointFiles]:
    """Yield the rows of files of kinds that are not read, whatever they are called, below a folder without others."""
    for path, why in search(folder):
        if match is None or matches(path, folder, match):
            with suppress(OSError):  # gone since
                yield _row(path, (path,), identity(os.stat(path)), why)


def _row(path: str, files: tuple[str, ...], now: Identity, why: Diagnosis) -> CheckpointFiles:
    """Return the row of what no format claims, "writing" where its writer may go on."""
    kind, message = why
    return CheckpointFiles(
        path, None, files, now, "writing" if kind == Torn.kind else "failed", (kind, one_line(message))
    )


def _torn_zip(item: ListedFile) -> Diagnosis | None:
    if not item.head.startswith(zip_codec.MAGIC):
        return None
    try:
        with opened(item.path) as file, glancing(item.path, file.size):
            zip_codec.names(file)
    except CheckpointError as error:
        return error.kind, str(error)
    return None
