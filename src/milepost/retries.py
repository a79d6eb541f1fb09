"""When a failure that may pass is tried again by who looks all the time: after 1, 2, 4, ... times the first wait.

A `run` tries them each time, since somebody asked for it; a watcher would do nothing else.
"""

from datetime import datetime, timedelta

from milepost.errors import retried

FIRST_SECONDS = 30.0
"""Wait after the first failure."""

LONGEST_SECONDS = 3600.0
"""No wait is longer."""


def wait_seconds(attempts: int) -> float:
    """Return how long to wait after so many failures.

    >>> [wait_seconds(attempts) for attempts in (1, 2, 3, 50)]
    [30.0, 60.0, 120.0, 3600.0]
    """
    doublings = min(max(attempts - 1, 0), 20)
    return min(FIRST_SECONDS * 2.0**doublings, LONGEST_SECONDS)


def due(kind: str, attempts: int, failed: str, now: str) -> bool:
    """Tell whether a failure is to be tried again; `failed` and `now` are times in RFC 3339.

    Never for a kind that does not pass by itself.

    >>> due("crashed", 2, "2026-01-01T00:00:00Z", "2026-01-01T00:00:59Z")
    False
    >>> due("crashed", 2, "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")
    True
    >>> due("mismatch", 1, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")
    False
    """
    if not retried(kind):
        return False
    waited = datetime.fromisoformat(now) - datetime.fromisoformat(failed)
    # A clock that was set back must not put a checkpoint off for ever.
    return waited >= timedelta(seconds=wait_seconds(attempts)) or waited < timedelta(0)
