"""A metric from its spec."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from milepost.core.protocols import Metric
from milepost.core.types import Json
from milepost.errors import UsageError
from milepost.registry import load


def metric_of(spec: Mapping[str, Json]) -> Metric:
    """Build a metric from its spec: its registered name and its settings; a UsageError where either does not fit.

    >>> metric_of({"name": "top_k", "k": 3}).headline
    'top3'
    """
    cls = load("metrics", spec["name"])
    settings = {key: tuple(item) if isinstance(item, list) else item for key, item in spec.items()}
    settings = {key: item for key, item in settings.items() if key not in ("name", "version")}
    known = [item.name for item in fields(cls)] if is_dataclass(cls) else []
    for key in settings:
        if key not in known:
            raise UsageError(f"{spec['name']} has no setting {key!r}; it has: {', '.join(known) or 'none'}")
    try:
        made: Metric = cls(**settings)
    except TypeError as error:
        raise UsageError(f"{spec['name']}({settings}): {error}") from error
    return made
