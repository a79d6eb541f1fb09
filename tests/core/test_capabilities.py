"""Members are looked for by one helper, which computes no property and calls no method."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from milepost.core.capabilities import CAPABILITIES, capability, is_begun, members, missing
from milepost.core.protocols import (
    HasFixedBatch,
    MeanMetric,
    Metric,
    RandomAccess,
    Releases,
    Sampled,
    Source,
)


class _Stream:
    size = None
    release = None

    @property
    def fixed_batch(self) -> bool:
        raise RuntimeError("computed")

    def fingerprint(self) -> dict[str, str]:
        return {}

    def rows(self) -> None: ...


class _Proxy:
    def __init__(self, inner: object) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


@dataclass(frozen=True, slots=True)
class _Slotted:
    range: tuple[float, float] = (0.0, 1.0)
    sample: ClassVar[str] = "text"

    def contribution(self) -> None: ...


@pytest.mark.parametrize("thing", [_Stream(), _Proxy(_Stream())])
def test_a_value_of_none_is_there_and_a_method_of_none_is_not(thing: object) -> None:
    assert missing(thing, Source) == ["batches"]
    assert capability(thing, Releases) is None


def test_no_property_is_computed() -> None:
    assert capability(_Stream(), HasFixedBatch) is not None


def test_classes_and_slots_are_looked_into() -> None:
    assert capability(_Slotted(), MeanMetric) is not None
    assert capability(_Slotted, MeanMetric) is not None
    assert capability(_Slotted, Sampled) is None, "text cannot be called"


def test_one_method_of_several_claims_the_capability() -> None:
    assert is_begun(_Stream(), RandomAccess)
    assert missing(_Stream(), RandomAccess) == ["positions"]
    assert not is_begun(object(), RandomAccess)


def test_a_protocol_lists_its_members_in_order() -> None:
    assert list(members(Metric)) == ["name", "headline", "columns", "direction", "state", "values"]
    assert [name for name, is_method in members(Metric).items() if is_method] == ["state", "values"]


@pytest.mark.parametrize("capability", [item for found in CAPABILITIES.values() for item in found])
def test_every_capability_has_members(capability: type) -> None:
    assert members(capability)
