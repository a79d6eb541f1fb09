"""The names, signatures and argument orders of `tf_slim.metrics`, over Milepost's exact states.

What is not here yet is handed on to `tf_slim.metrics` as it is, with a warning that the number is the original's.
"""

from collections.abc import Mapping
from typing import Any

from milepost.compat.slim._graph import functions
from milepost.compat.slim._handed_on import handed_on

_OWN = functions(slim=True)


def aggregate_metrics(*value_update_tuples: tuple[Any, Any]) -> tuple[list[Any], list[Any]]:
    """Return the values and the updates of metrics as two lists.

    >>> aggregate_metrics(("value 1", "update 1"), ("value 2", "update 2"))
    (['value 1', 'value 2'], ['update 1', 'update 2'])
    """
    if not value_update_tuples:
        raise ValueError("aggregate_metrics takes (value, update_op) of one metric or more; found none")
    return [value for value, _ in value_update_tuples], [update for _, update in value_update_tuples]


def aggregate_metric_map(names_to_tuples: Mapping[str, tuple[Any, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values and the updates of metrics as two dicts by name; both empty for an empty one.

    >>> aggregate_metric_map({"top1": ("value", "update")})
    ({'top1': 'value'}, {'top1': 'update'})
    """
    values = {name: value for name, (value, _) in names_to_tuples.items()}
    return values, {name: update for name, (_, update) in names_to_tuples.items()}


def __getattr__(name: str) -> Any:
    return _OWN[name] if name in _OWN else handed_on("tf_slim.metrics", name, __name__)


def __dir__() -> list[str]:
    return sorted([*globals(), *_OWN])
