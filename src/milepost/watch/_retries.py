"""When a failure that may pass is tried again by who watches all the time: after 1, 2, 4, ... times the first wait.

A `run` tries each of them once, since somebody asked for it; attempts are counted in the store, whoever made them.
"""

FIRST_SECONDS = 30.0
"""Wait after the first failure."""

ATTEMPTS = 4
"""After so many a watch lets it be; the next run or watch tries it once more."""

LONGEST_SECONDS = 3600.0
"""No wait is longer."""


def wait_seconds(attempts: int) -> float:
    """Return how long to wait after so many failures.

    >>> [wait_seconds(attempts) for attempts in (1, 2, 3, 50)]
    [30.0, 60.0, 120.0, 3600.0]
    """
    doublings = min(max(attempts - 1, 0), 20)
    return min(FIRST_SECONDS * 2.0**doublings, LONGEST_SECONDS)
