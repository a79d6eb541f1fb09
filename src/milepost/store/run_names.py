"""Finding a run by what people call it: its id, its folder, its folder's name, or the end of that folder's path."""

import os
from collections.abc import Mapping, Sequence
from typing import Any


def fitting(runs: Sequence[Mapping[str, Any]], text: str, folder: str) -> list[str]:
    """Return the ids of the runs that a text names, by the first of these ways that names any.

    `runs` are those of `Store.runs`, and `folder` is the run's where the text is a path.

    >>> runs = [{"id": "v0", "name": "v0", "path": "/a/v0"}, {"id": "v0-12345678", "name": "v0", "path": "/b/v0"}]
    >>> fitting(runs, "v0", "/x/v0"), fitting(runs, "b/v0", "/x/b/v0"), fitting(runs, "../b/v0/weights", "/b/v0")
    (['v0'], ['v0-12345678'], ['v0-12345678'])
    """
    real, end = os.path.realpath(folder), f"/{os.path.normpath(text)}"
    ways = (
        [run["id"] for run in runs if run["id"] == text],
        [run["id"] for run in runs if run["path"] == real],
        [run["id"] for run in runs if run["name"] == text or run["path"].endswith(end)],
    )
    return [str(found) for found in next(filter(None, ways), ())]
