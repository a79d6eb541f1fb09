"""Finding checkpoints under paths: by content, whatever their names; names serve only for what nobody claims."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch

from milepost._internal.fileid import identity
from milepost._internal.text import natural
from milepost.checkpoints._codecs import zip as zip_codec
from milepost.checkpoints._files.bounded import kind_of, opened, unreadable
from milepost.checkpoints._files.links import leads_out, refused, roots_of
from milepost.checkpoints._files.shards import SAVED_MODEL, from_prefix
from milepost.checkpoints.diagnosis import UNKNOWN, Verdict, folder_verdict, verdict
from milepost.checkpoints.names import is_candidate, is_companion
from milepost.core.protocols import Format
from milepost.core.types import CheckpointFiles, Identity
from milepost.errors import CheckpointError, Corrupt, MilepostError, Torn, UsageError, Vanished
from milepost.registry import classes

_HEAD = 4096
_DEPTH = 64
_STORE_MARK = "store.json"


@dataclass(slots=True)
class ListedFile:
    """One entry of a listing; `head` is read at once, and `problem` says why it could not be."""

    path: str
    is_dir: bool
    head: bytes = b""
    tail: bytes = b""
    status: os.stat_result | None = None
    problem: CheckpointError | None = None
    asked: bool = field(default=False)


def find(paths: Sequence[str], match: str | None = None) -> list[CheckpointFiles]:
    """Return every checkpoint under the paths, in natural order of path (`step-9` before `step-10`).

    A path is a file, a folder or a TensorFlow prefix.  Folders are searched recursively; hidden ones and Milepost's own
    stores are skipped.
    Symbolic links are followed, a folder's at most once on the way, so that no circle is walked; one that leads out of
    all that was named is a failed row, unless it was named itself.  `match` narrows by
    a pattern on the file's name or its path within the folder.  A file that is named like a checkpoint and that no
    format claims is returned with `format` None and why.  Raises `UsageError` for a path that does not exist.

    >>> find(["/does/not/exist"])
    Traceback (most recent call last):
    ...
    milepost.errors.UsageError: /does/not/exist: no such file or folder
    """
    formats = [kind() for _, kind in sorted(classes("checkpoints.formats").items())]
    found: dict[str, CheckpointFiles] = {}
    roots = roots_of(paths)
    for path in paths:
        meant = os.path.abspath(from_prefix(path))
        for one in _under(meant, path, formats, roots):
            if match is None or matches(one.path, meant, match):
                found.setdefault(one.path, one)
    return sorted(found.values(), key=lambda one: natural(one.path))


def matches(path: str, root: str, pattern: str) -> bool:
    """Tell whether a checkpoint's name, or its path below the root, fits a pattern; `.index` may be left out of it.

    >>> matches("/run/a/m.ckpt-40.index", "/run", "*-40"), matches("/run/a/step-1.npz", "/run", "b/*")
    (True, False)
    """
    texts = os.path.basename(path), os.path.relpath(path, root)
    return any(fnmatch(text, pattern) or fnmatch(text.removesuffix(".index"), pattern) for text in texts)


def looked_for() -> str:
    """Return a sentence on what `find` recognises, for the error that nothing was found.

    >>> looked_for().startswith("looked for ")
    True
    """
    known = ", ".join(sorted(classes("checkpoints.formats")))
    return (
        f"looked for files whose content is one of: {known}; and for files named like a checkpoint (.pt, .pth, .ckpt, "
        ".npz, .safetensors, .bin, .pkl, .h5, .keras, ...); hidden folders, optimizer and random-state companions and "
        "Milepost stores were skipped"
    )


def would_search(found: CheckpointFiles) -> bool:
    """Tell whether a search of its folder would return what was returned for a file that was named by itself.

    A file that is asked for is always answered; one that merely lies in a folder only if it is a checkpoint or is named
    like one.
    """
    if found.format is not None or os.path.isdir(found.path):
        return True
    return is_candidate(os.path.basename(found.path)) and not (found.failure and found.failure[1].endswith(UNKNOWN))


def is_store(names: Sequence[str]) -> bool:
    """Tell by its entries whether a folder is one of Milepost's own stores, which are not searched."""
    return _STORE_MARK in names


def is_whole(path: str, names: Sequence[str]) -> bool:
    """Tell by its entries whether a folder is one checkpoint as a whole."""
    return SAVED_MODEL in names or folder_verdict(path, names) is not None


def _under(path: str, given: str, formats: Sequence[Format], roots: Sequence[str]) -> Iterator[CheckpointFiles]:
    try:
        status = os.stat(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            what = _points(path) if os.path.islink(path) else "no such file or folder"
            raise UsageError(f"{given}: {what}") from error
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
    why = folder_verdict(path, names)
    if why:
        yield CheckpointFiles(
            path, None, (), identity(os.stat(path)), "writing" if why[0] == Torn.kind else "failed", why
        )
        return
    entries = [entry for entry in every if not entry.name.startswith(".")]
    links = [entry.path for entry in entries if entry.is_symlink() and _is_ordinary(entry)]
    out = [path for path in links if leads_out(path, roots)]
    yield from refused(out, roots)
    entries = [entry for entry in entries if entry.path not in out]
    items = list(_items(entries))
    claimed = list(_claimed(items, formats))
    yield from claimed
    yield from _strange(entries)
    taken = {one.path for one in claimed}
    for item in items:
        if item.is_dir and item.path not in taken and item.status is not None:
            key = (item.status.st_dev, item.status.st_ino)
            link = os.path.islink(item.path)
            if key not in around and not (link and linked) and len(around) < _DEPTH:
                yield from _folder(item.path, formats, roots, (*around, key), linked=linked or link)


def _is_ordinary(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() or entry.is_dir()
    except OSError:
        return False


def _items(entries: Sequence[os.DirEntry[str]]) -> Iterator[ListedFile]:
    for entry in entries:
        try:
            status = entry.stat()
        except OSError:  # gone since it was listed, or a link to nothing
            continue
        if stat.S_ISDIR(status.st_mode):
            yield ListedFile(entry.path, is_dir=True, status=status)
        elif stat.S_ISREG(status.st_mode) and not is_companion(entry.name):
            yield entry_of(entry.path)


def _strange(entries: Sequence[os.DirEntry[str]]) -> Iterator[CheckpointFiles]:
    """Return the rows of what is named like a checkpoint and is no file: links to nothing, pipes, sockets, devices."""
    for entry in entries:
        if is_candidate(entry.name):
            why = _no_file(entry.path)
            try:
                now = identity(os.lstat(entry.path))
            except OSError:  # gone since it was listed
                continue
            if why is not None:
                yield CheckpointFiles(entry.path, None, (entry.path,), now, "failed", (why.kind, str(why)))


def _no_file(path: str) -> CheckpointError | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            return Vanished(f"{path}: {_points(path)}: keep that checkpoint, or remove the link")
        return None
    except OSError as error:
        return unreadable(path, error)
    ordinary = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    return None if ordinary else Corrupt(f"{path}: {kind_of(status)}, not a file")


def _points(path: str) -> str:
    return f"a symbolic link to {os.readlink(path)}, which is not there"


def _shut(path: str, error: OSError) -> CheckpointFiles | None:
    """Return the row of a folder that may not be listed: what lies in it would otherwise be missed in silence."""
    try:
        now = identity(os.stat(path))
    except OSError:
        return None
    why = f"{path}: the folder cannot be listed, its checkpoints cannot be seen: {error.strerror or error}; chmod g+rx"
    return CheckpointFiles(path, None, (), now, "failed", (Corrupt.kind, why))


def entry_of(path: str, *, asked: bool = False) -> ListedFile:
    """Return a file as formats are shown it; whatever hinders reading it is kept in `problem`, not raised."""
    item = ListedFile(path, is_dir=False, asked=asked)
    try:
        item.status = os.stat(path)
        with opened(path) as file:
            item.head = file.at(0, min(_HEAD, file.size), "its beginning")
            size = min(8, file.size)
            item.tail = file.at(file.size - size, size, "its end")
    except CheckpointError as error:
        item.problem = error
    except OSError as error:
        item.problem = unreadable(path, error)
    return item


def _claimed(items: Sequence[ListedFile], formats: Sequence[Format]) -> Iterator[CheckpointFiles]:
    readable = [item for item in items if item.problem is None]
    taken: set[str] = set()
    for one in formats:
        free = [item for item in readable if item.path not in taken]
        for found in _asked(one, free):
            if found.path not in taken:
                taken.update((found.path, *found.paths))
                yield _with_others(found)
    for item in items:
        if not item.is_dir and item.path not in taken:
            failed = _failed(item)
            if failed:
                yield failed


def _with_others(found: CheckpointFiles) -> CheckpointFiles:
    """Return a checkpoint of several files with the identities of its parts; one that is gone has none."""
    parts = []
    for path in found.paths[1:]:
        try:
            parts.append(identity(os.stat(path)))
        except OSError:
            parts.append(Identity(0, 0, 0, 0, 0))
    return replace(found, others=tuple(parts)) if parts else found


def _asked(one: Format, items: Sequence[ListedFile]) -> list[CheckpointFiles]:
    """Ask a format about a folder at once; should it stumble over one, or one vanish, ask about each by itself."""
    try:
        return list(one.find(items))
    except Exception:  # noqa: BLE001 - the second asking says which file it was, or raises
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
            except Exception as error:  # noqa: BLE001 - one strange file is a row, never the end of a run
                why = f"format {one.name} could not make sense of it: {type(error).__name__}: {error}"
                item.problem = Corrupt(f"{item.path}: {why}")
        return found


def _failed(item: ListedFile) -> CheckpointFiles | None:
    if item.status is None or isinstance(item.problem, Vanished):
        return None
    if not (item.asked or is_candidate(os.path.basename(item.path))):
        return None
    why: Verdict | None
    if item.problem is not None:
        why = item.problem.kind, str(item.problem)
    else:
        why = _torn_zip(item) or verdict(item.path, item.head, item.tail, item.status.st_size)
    if why is None and item.asked:
        why = "corrupt", f"{item.path}: {UNKNOWN}"
    if why is None:
        return None
    files, now = (item.path,), identity(item.status)
    if why[0] == Torn.kind:
        return CheckpointFiles(item.path, None, files, now, "writing", why)
    return CheckpointFiles(item.path, None, files, now, "failed", why)


def _torn_zip(item: ListedFile) -> Verdict | None:
    if not item.head.startswith(zip_codec.MAGIC):
        return None
    try:
        with opened(item.path) as file:
            zip_codec.names(file)
    except CheckpointError as error:
        return error.kind, str(error)
    return None
