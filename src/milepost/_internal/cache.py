"""What can be computed again, kept between processes in the user's cache folder: losing it costs time only."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from milepost._internal.atomic import replacing
from milepost._internal.serialization import Json, canonical

_KEY, _VALUE = "key", "value"


def cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/milepost`, or `~/.cache/milepost`; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "milepost"


def cached(name: str, key: str, make: Callable[[], Json]) -> Json:
    """Return plain data that is kept under a name as long as its key stays, or else made and put there.

    Where the folder cannot be read or written, it is made each time.
    """
    path = cache_folder() / f"{name}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_bytes())
        if kept[_KEY] == key:
            return kept[_VALUE]
    made = make()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = replacing(str(path))
        Path(temporary).write_text(canonical({_KEY: key, _VALUE: made}), encoding="ascii")
        os.replace(temporary, path)
    return made
