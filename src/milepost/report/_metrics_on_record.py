"""What is on record under a value's name: the metric that gives it, and which direction is better."""

from typing import Any

from milepost._internal.text import listed
from milepost.errors import UsageError
from milepost.registry import load
from milepost.store.listing import Listing
from milepost.store.store import Store

_DIRECTIONS = ("higher", "lower")


def recorded(store: Store, metric: str, weights: str | None = None) -> dict[str, Any]:
    """Return a record (exact, any coverage) that holds the value `metric`, of some weights or of any.

    A UsageError lists the values that there are.
    """
    names: set[str] = set()
    for key in store.evaluations():
        folder = store.evaluation(key)
        if weights is not None and (folder.spec() or {}).get("weights") != weights:
            continue
        for payload in folder.results.read():
            held = {entry["metric"] for entry in payload["values"]}
            if payload["estimator"] == "exact" and metric in held:
                found: dict[str, Any] = payload
                return found
            names |= held
    raise UsageError(
        f"no value {metric!r} is on record; there are: {', '.join(sorted(names)) or 'none'}; `milepost score` computes "
        "further ones from kept outcomes"
    )


def check_slice(listing: Listing, wanted: str) -> None:
    """Raise a UsageError for a slice (`all`, a name, `name=value`) that is not on record; it lists those that are."""
    there = listing.slices()
    if wanted == "all" or wanted in there or any(item.startswith(f"{wanted}=") for item in there):
        return
    raise UsageError(f"--slice {wanted}: no such slice is on record; there are: {listed(there, 20) or 'none'}")


def direction_of(payload: dict[str, Any]) -> str:
    """Return "higher" or "lower": as the record says, else as the registered metric does.

    >>> direction_of({"metric": {"name": "top_k", "k": 1}})
    'higher'
    """
    direction = payload.get("direction")
    if direction is None:
        direction = load("metrics", payload["metric"]["name"]).direction
    if direction not in _DIRECTIONS:
        raise UsageError(f"{payload['metric']['name']}: expected a direction, higher or lower, found {direction!r}")
    return str(direction)
