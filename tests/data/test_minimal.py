"""A source with the required members and nothing else is evaluated, resumed and scored again, and keeps the laws."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests._material import checkpoints, columns_of, command, evaluation_of, examples, go, lines_of, same_columns

from milepost.core.capabilities import CAPABILITIES, capability
from milepost.core.protocols import Source
from milepost.core.types import Array, Batch, Json
from milepost.data import Arrays
from milepost.errors import UsageError
from milepost.testing.sources import check_source

ROWS = 700
INPUTS, LABELS = examples(ROWS)


class Plain:
    """Rows in their natural order."""

    size = ROWS

    def fingerprint(self) -> dict[str, Json]:
        return {"kind": "plain", "digest": "1", "order": {"kind": "natural"}}

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        if batch_size < 1 or not 0 <= start <= stop:
            raise UsageError(f"no batches of {batch_size} in [{start}, {stop})")
        stop = min(stop, ROWS)
        for begin in range(start // batch_size * batch_size, stop, batch_size) if start < stop else ():
            rows = slice(begin, begin + batch_size)
            yield Batch(INPUTS[rows].copy(), LABELS[rows], start=begin)


class Nameless(Plain):
    """The same, whose fingerprint says nothing of an order."""

    def fingerprint(self) -> dict[str, Json]:
        return {"kind": "plain", "digest": "2"}


class OneWay(Plain):
    """The same, which says what row stands at a position, and not the other way round."""

    def rows(self, positions: Array) -> Array:
        return positions


def test_the_laws_find_half_of_a_capability() -> None:
    with pytest.raises(AssertionError, match="has methods of RandomAccess and lacks positions"):
        check_source(OneWay)


def test_a_minimal_source_keeps_the_laws() -> None:
    assert not [kind for kind in CAPABILITIES[Source] if capability(Plain(), kind)]
    check_source(Plain, [Nameless])
    with pytest.raises(AssertionError, match=r"the fingerprint's order is \{\}, expected one of a kind"):
        check_source(Nameless)


@pytest.mark.parametrize("source", [Plain(), Nameless()], ids=["ordered", "without an order"])
def test_a_minimal_source_runs_end_to_end(tmp_path: Path, source: Any) -> None:
    folder, store, other = checkpoints(tmp_path / "models", 1), tmp_path / "store", tmp_path / "other"
    go(evaluation_of(data={"test": source}), folder, store=store, limit=256)
    done = go(evaluation_of(data={"test": source}), folder, store=store)
    same = go(evaluation_of(data={"test": Arrays(INPUTS, LABELS, order="natural")}), folder, store=other)
    same_columns(columns_of(store), columns_of(other))
    for metric in ("top1", "top5", "cross_entropy"):
        for estimator in ("exact", "batch_mean"):
            assert done.value(metric, estimator) == same.value(metric, estimator)
    listed = lines_of(command("ls", "--json", "--store", store).stdout).of("record")
    assert {row["status"] for row in listed} == {"ok"}
    again = command("score", "--all", "--metric", "top_k(k=3)", "--store", store)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("member", ["size", "fingerprint", "batches"])
def test_each_required_member_is_asked_for(member: str) -> None:
    members: dict[str, Any] = {name: item for name, item in vars(Plain).items() if name not in (member, "__dict__")}
    with pytest.raises(UsageError, match=f"`{member}`"):
        evaluation_of(data={"test": type("Lacking", (), members)()})
