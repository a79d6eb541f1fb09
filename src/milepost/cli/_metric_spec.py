"""Metrics as text: `top_k(k=3)`, read without running anything: a registered name, and settings that are literals."""

import ast
from typing import TYPE_CHECKING, Any

from milepost.errors import UsageError

if TYPE_CHECKING:
    from milepost.core.protocols import Metric

_LONGEST = 500


def spec_from(text: str) -> dict[str, Any]:
    """Return name and settings of `name` or `name(key=value, ...)`; values are literals, a UsageError says what is off.

    >>> spec_from("top_k(k=3, ties='in_top_k')")
    {'name': 'top_k', 'k': 3, 'ties': 'in_top_k'}
    >>> spec_from("cross_entropy")
    {'name': 'cross_entropy'}
    """
    if len(text) > _LONGEST:
        raise _error(text[:_LONGEST] + "...", f"more than {_LONGEST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _error(text, "something else") from error
    match tree:
        case ast.Name(id=name):
            return {"name": name}
        case ast.Call(func=ast.Name(id=name), args=[], keywords=settings):
            return {"name": name, **dict(_setting(text, item) for item in settings)}
        case ast.Call(func=ast.Name(), args=[_, *_]):
            raise _error(text, "a setting without its name")
    raise _error(text, "something else")


def metric_from(text: str) -> "Metric":
    from milepost.scoring.metric_spec import metric_of  # noqa: PLC0415 - the help needs no NumPy

    return metric_of(spec_from(text))


def _setting(text: str, item: ast.keyword) -> tuple[str, Any]:
    if item.arg is None or item.arg in ("name", "version"):
        raise _error(text, "a setting that is none")
    try:
        return item.arg, ast.literal_eval(item.value)
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise _error(text, f"a value of {item.arg} that is no literal") from error


def _error(text: str, found: str) -> UsageError:
    return UsageError(f"metric {text!r}: expected name or name(key=value, ...), such as top_k(k=3); found {found}")
