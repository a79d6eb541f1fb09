"""A symbolic link that is kept on the best checkpoint: for scripts and people that want one name."""

import os
from contextlib import suppress

from milepost._internal.atomic import replacing
from milepost.errors import UsageError


def keep_link(link: str, target: str) -> bool:
    """Have a symbolic link lead to a checkpoint (a file or a folder); return False where it does already.

    It is replaced whole, so that whoever opens it meanwhile gets the old or the new checkpoint.  It is relative: a
    project that is moved as a whole keeps it.  Raises UsageError where something other than a link has the name, where
    the checkpoint is neither one file nor a folder, and where the link cannot be made.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "step-9.pt").write_text("weights")
    ...     made = keep_link(f"{folder}/best.pt", f"{folder}/step-9.pt")
    ...     made, keep_link(f"{folder}/best.pt", f"{folder}/step-9.pt"), os.readlink(f"{folder}/best.pt")
    (True, False, 'step-9.pt')
    """
    if os.path.lexists(link) and not os.path.islink(link):
        raise UsageError(f"--link {link}: is there and is no symbolic link, so it is left alone; name another path")
    if not os.path.exists(target):
        raise UsageError(
            f"--link {link}: {target} is the prefix of several files, and a link leads to one; use `best --path`"
        )
    folder = os.path.dirname(os.path.abspath(link))
    leads_to = os.path.relpath(os.path.realpath(target), os.path.realpath(folder))
    if os.path.islink(link) and os.readlink(link) == leads_to:
        return False
    temporary = replacing(link)
    try:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(leads_to, temporary, target_is_directory=os.path.isdir(target))
        os.replace(temporary, link)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise UsageError(f"--link {link}: the link cannot be made ({error.strerror or error})") from error
    return True
