"""A folder that an export writes: whole or left as it was, and never one that somebody else filled."""

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from milepost._internal.atomic import replacing
from milepost.errors import UsageError

_MARK = ".milepost-export"
_AT_FDCWD, _EXCHANGE = -100, 2


@contextmanager
def folder_target(target: str, made_by: str) -> Iterator[str]:
    """Yield an empty folder; once everything is written it stands at `target`, in place of what `made_by` left there.

    Raises UsageError where something else lies there, and where the folder cannot be written.
    """
    final = os.path.realpath(target)
    _check(target, final, made_by)
    written = replacing(final)
    try:
        os.mkdir(written)
    except OSError as error:
        raise _refused(target, error) from error
    try:
        yield written
        with open(os.path.join(written, _MARK), "w", encoding="utf-8") as mark:
            mark.write(f"{made_by}\n")
        if os.path.isdir(final):
            _exchange(written, final)
        else:
            os.rename(written, final)
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        shutil.rmtree(written, ignore_errors=True)


def _refused(target: str, error: OSError) -> UsageError:
    return UsageError(f"{target}: cannot be written ({error.strerror or error}); name another folder")


def _check(target: str, final: str, made_by: str) -> None:
    if not os.path.lexists(final) or (os.path.isdir(final) and not os.listdir(final)):
        return
    try:
        with open(os.path.join(final, _MARK), encoding="utf-8") as mark:
            found = mark.read().strip()
    except OSError:
        found = ""
    if found != made_by:
        what = f"a folder that {found} made" if found else "something that this export did not make"
        raise UsageError(f"{target}: expected a new folder or an earlier {made_by}, found {what}; name another folder")


def _exchange(new: str, old: str) -> None:
    """Swap two folders at once; where the file system has no such call, one after the other."""
    library = ctypes.CDLL(None, use_errno=True)
    swap = getattr(library, "renameat2", None)
    if swap is not None and swap(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _EXCHANGE) == 0:
        return
    if swap is not None and ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), old)
    beside = f"{new}.old"
    os.rename(old, beside)
    os.rename(new, old)
    shutil.rmtree(beside, ignore_errors=True)
