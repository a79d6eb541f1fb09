"""Which evaluations of a checkpoint `show` describes whole, and the lines that stand for the others."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from milepost.store.code_standing import EARLIER, Standing

Plain = Mapping[str, Any]


def chosen(specs: Mapping[str, Plain], standings: Mapping[str, Standing], data: Sequence[str]) -> tuple[str, ...]:
    """Return the keys of those to describe: of each data set all of the current code, else the newest of earlier code.

    The newest come first, data sets in the order of `data`, in which their values are listed.

    >>> specs = {key: {"data_name": "test", "created": key} for key in "abc"}
    >>> chosen(specs, {"a": Standing(earlier=True), "b": Standing(), "c": Standing()}, ["test"])
    ('c', 'b')
    >>> chosen(specs, dict.fromkeys("abc", Standing(earlier=True)), ["test"])
    ('c',)
    """
    by_data = defaultdict[str, list[str]](list)
    for key in sorted(specs, key=lambda key: str(specs[key].get("created")), reverse=True):
        by_data[str(specs[key].get("data_name"))].append(key)
    places = {name: place for place, name in enumerate(data)}
    found = list[str]()
    for name in sorted(by_data, key=lambda name: (places.get(name, len(places)), name)):
        keys = by_data[name]
        found += [key for key in keys if not standings[key].earlier] or keys[:1]
    return tuple(found)


def folded_lines(specs: Mapping[str, Plain], standings: Mapping[str, Standing]) -> list[tuple[str, str]]:
    """Return a label and a text for each evaluation that is not described, newest first.

    >>> folded_lines({"k1": {"data_name": "test", "code": "c1", "created": "now"}}, {"k1": Standing(earlier=True)})
    [('test', 'now, earlier code c1, evaluation k1')]
    """
    keys = sorted(specs, key=lambda key: str(specs[key].get("created")), reverse=True)
    return [(str(specs[key].get("data_name")), _folded(key, specs[key], standings[key])) for key in keys]


def _folded(key: str, spec: Plain, standing: Standing) -> str:
    code = f"{EARLIER if standing.earlier else 'code'} {spec.get('code')}"
    return f"{spec.get('created')}, {code}, evaluation {key}"
