"""What is on record: the metric that gives a value of some name, which direction is better, evaluations of weights."""

from typing import Any

from milepost._internal.text import listed
from milepost.errors import UsageError
from milepost.registry import load
from milepost.report._metric_names import computed, hint
from milepost.store.listing import Listing
from milepost.store.store import Store

_DIRECTIONS = ("higher", "lower")


def recorded(store: Store, metric: str, weights: str | None = None) -> dict[str, Any]:
    """Return a record (exact, any coverage) that holds the value `metric`, first of all one of these weights.

    Others may have other settings.  A UsageError lists the values that there are.
    """
    names: set[str] = set()
    ours = evaluations_of(store, weights) if weights else ()
    for key in (*ours, *(key for key in store.evaluations() if key not in ours)):
        for payload in store.evaluation(key).results.read():
            values = {entry["metric"] for entry in payload["values"]}
            if payload["estimator"] == "exact" and metric in values:
                return dict(payload)
            names |= values
    raise UsageError(
        f"no value {metric!r} is on record; there are: {', '.join(sorted(names)) or 'none'}{hint(metric, names)}; "
        f"{computed(metric, names)}"
    )


def evaluations_of(store: Store, weights: str | None) -> dict[str, dict[str, Any]]:
    """Return the specs of the evaluations of some weights, by key; none for None."""
    specs = {key: store.evaluation(key).spec() for key in store.evaluations()} if weights else {}
    return {key: spec for key, spec in specs.items() if spec and spec.get("weights") == weights}


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
