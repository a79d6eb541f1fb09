"""What a file system is and can do, for `doctor`."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def kind_of(path: str) -> str:
    """Return the type of the file system on which a path lies; "" where it is unknown."""
    best, kind = "", ""
    with suppress(OSError):
        real = os.path.realpath(path)
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            fields, _, rest = line.partition(" - ")
            place = fields.split(" ")[4].replace("\\040", " ")
            inside = real == place or real.startswith(place.rstrip("/") + "/")
            if inside and len(place) >= len(best):
                best, kind = place, rest.split(" ")[0]
    return kind


def existing(path: str) -> str:
    """Return the path, or the nearest folder above it that is there."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def trouble_with_links(folder: str) -> str | None:
    """Try to write a file and a hard link to it; return what went wrong, None if nothing; leaves nothing behind.

    >>> trouble_with_links("/does/not/exist") is None
    False
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".milepost-doctor-", dir=folder) as place:
            Path(place, "a").write_bytes(b"")
            os.link(os.path.join(place, "a"), os.path.join(place, "b"))
    except OSError as error:
        return error.strerror or str(error)
    return None
