"""Walking containers: circles end, shared ones are seen under each name, nesting is bounded."""

import pytest

from milepost.checkpoints._codecs.pickle import Placeholder
from milepost.checkpoints.formats._torch.storages import StorageType, TorchStorage, View
from milepost.checkpoints.formats._torch.walk import walk
from milepost.errors import Corrupt

VIEW = View(TorchStorage("0", StorageType("float32", 4), 4), "float32", 0, (1,), (1,))


def names(value: object) -> list[str]:
    return ["/".join(part for part in (group, name) if part) for group, name, _ in walk(value, "x")]


def test_shared_containers_are_seen_under_each_name() -> None:
    shared = {"w": VIEW}
    assert names({"model": shared, "ema": shared}) == ["model/w", "ema/w"]


def test_circles_end() -> None:
    circle: dict[str, object] = {"w": VIEW}
    circle["self"] = circle
    assert names(circle) == ["w"]
    thing = Placeholder("x")
    thing.state = thing
    assert names(thing) == []


def test_lists_and_foreign_objects_are_walked() -> None:
    thing = Placeholder("x.Box", state={"inner": [VIEW, {"w": VIEW}]})
    assert names({"box": thing}) == ["box/inner/0", "box/inner/1/w"]


def test_a_module_whose_state_makes_no_sense_is_still_walked() -> None:
    state = {"_parameters": {"w": VIEW, "none": None}, "_buffers": {"b": VIEW}, "_modules": {"m": 3}}
    for odd in (Placeholder("set"), None, ["b"]):
        module = Placeholder("x.Net", state=state | {"_non_persistent_buffers_set": odd})
        assert names(module) == (["w"] if odd == ["b"] else ["w", "b"])


def test_nesting_without_end_is_corrupt() -> None:
    deep: object = VIEW
    for _ in range(200):
        deep = [deep]
    with pytest.raises(Corrupt, match="nested"):
        names(deep)


def test_a_table_that_doubles_at_each_level_is_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milepost.checkpoints.formats._torch.walk.COUNT_LIMIT", 1000)
    level: object = {"w": VIEW}
    for _ in range(40):
        level = [level, level]
    with pytest.raises(Corrupt, match="more than 1,000 tensors"):
        for _ in walk(level, "x"):
            pass


def test_what_is_called_among_tensors_is_refused_where_it_is_needed() -> None:
    call = Placeholder("posix.system", ("touch x",))
    (group, name, second), (_, _, first) = walk({"net": {"b": call, "w": VIEW}, "hook": call}, "x")
    assert first is VIEW
    assert (group, name, second.unsafe) == ("net", "b", True)
    assert "posix.system" in (second.odd or "")
