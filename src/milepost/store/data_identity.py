"""On what the identity of data rests where not all of it was looked at."""

from collections.abc import Mapping

from milepost._internal.text import listed
from milepost.core.types import Json

_SHOWN = 3


def rests_on(fingerprint: Mapping[str, Json], size: int) -> str | None:
    """Return a sentence on what the identity of data rests; None where it is declared, or all of it was looked at.

    >>> rests_on({"weak": 64, "known": ["targets"]}, 50000)
    'identity of the data rests on 64 of 50,000 items and its targets; a change of others goes unnoticed: declare what \
the data is, version="name@1"'
    >>> rests_on({"weak": 64}, 64), rests_on({"version": "mnist@1"}, 10000)
    (None, None)
    """
    looked_at = fingerprint.get("weak")
    if not isinstance(looked_at, int) or looked_at >= size:
        return None
    known = [str(name) for name in fingerprint.get("known", [])] or ["labels"] * ("rows" in fingerprint)
    besides = f" and its {listed(known, _SHOWN)}" if known else ""
    return (
        f"identity of the data rests on {looked_at:,} of {size:,} items{besides}; a change of others goes unnoticed: "
        'declare what the data is, version="name@1"'
    )
