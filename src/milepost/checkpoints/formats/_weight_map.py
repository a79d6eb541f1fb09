"""The index that Keras and Hugging Face write beside weights in several files: JSON with a `weight_map`."""

from typing import Any

from milepost._internal.bounded import AGAIN, CUT, HEADER_LIMIT, opened
from milepost._internal.budget import glancing
from milepost._internal.json_text import parsed
from milepost.errors import Corrupt, Torn

MOST_SHARDS = 10_000
"""Most files of weights of one checkpoint."""


def weight_map(path: str, whose: str) -> dict[str, Any]:
    """Return what an index maps names to, unchecked; `whose` ("Keras'") goes into the messages.

    Raises `Torn` where the text has no end, `Corrupt` where it is too long or no such index.
    """
    with opened(path) as file:
        if file.size > HEADER_LIMIT:
            raise Corrupt(f"{path}: an index of {file.size:,} bytes, at most {HEADER_LIMIT:,} are read")
        raw = file.at(0, file.size, "the index")
    try:
        with glancing(path, len(raw)):
            held = parsed(raw)["weight_map"]
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise _improper(path, whose, raw) from error
    if not isinstance(held, dict):
        raise _improper(path, whose, raw)
    return held


def _improper(path: str, whose: str, raw: bytes) -> Torn | Corrupt:
    what = f"no proper index of {whose} shards: expected a JSON object with weight_map"
    if not raw.rstrip().endswith(b"}"):
        return Torn(f"{path}: {CUT}: {what}{AGAIN}")
    return Corrupt(f"{path}: damaged: {what}")
