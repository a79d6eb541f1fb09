"""Choosing the best: undefined never wins, a part is not compared with the whole, ties and rivals are named."""

from typing import Any

import pytest
from tests.report.samples import record

from milepost.errors import UsageError
from milepost.report.best import Best, choose, one_data


def made(value: Any, step: int = 100, *, metric: str = "top1", **changes: Any) -> dict[str, Any]:
    base = record(100, metric, value if isinstance(value, float) else None)
    checkpoint = {"path": f"runs/step-{step}.pt", "step": step, "digest": f"{step:032x}", "variant": "raw"}
    return {**base, "value": value, "checkpoint": checkpoint, **changes}


def steps(records: tuple[Any, ...]) -> list[int]:
    return [item["checkpoint"]["step"] for item in records]


def test_the_direction_decides() -> None:
    records = [made(value, step, metric="cross_entropy") for step, value in ((1, 0.5), (2, 0.25), (3, 0.75))]
    assert steps((choose(records, "lower").best,)) == [2]
    assert steps((choose(records, "higher").best,)) == [3]


def test_an_undefined_or_infinite_value_never_wins() -> None:
    records = [made(None, 1), made("nan", 2), made(0.1, 3), made("inf", 4)]
    found = choose(records, "lower")
    assert steps((found.best,)) == [3]
    assert steps(found.undefined) == [1, 2]
    assert steps(found.below) == [4]


def test_nothing_defined_is_an_error() -> None:
    with pytest.raises(UsageError, match="2 undefined"):
        choose([made(None, 1), made(None, 2)], "higher")


def test_a_part_is_not_compared_with_the_whole() -> None:
    records = [made(0.9, 1), made(0.99, 2, status="partial 100/10000", n=100)]
    found = choose(records, "higher")
    assert (steps((found.best,)), steps(found.partial)) == ([1], [2])
    assert "not compared, covered in part: step-2.pt (partial 100/10000)" in str(found)


def test_parts_are_compared_where_there_is_nothing_else() -> None:
    records = [made(0.9, 1, status="partial 100/10000"), made(0.99, 2, status="partial 100/10000")]
    found = choose(records, "higher")
    assert (steps((found.best,)), found.partial) == ([2], ())
    assert "covered in part only" in str(found)


def test_ties_and_intervals_that_meet() -> None:
    # Each interval reaches 0.005 to both sides.
    records = [made(value, step) for step, value in ((1, 0.9), (2, 0.5), (3, 0.9), (4, 0.891), (5, 0.889))]
    found = choose(records, "higher")
    assert steps((found.best, *found.tied)) == [1, 3]
    assert steps(found.meets) == [4]
    assert steps(found.below) == [5, 2]
    assert "not yet a paired test" in str(found)
    plain = found.plain()
    assert (plain["event"], plain["compared"], plain["paired_test"]) == ("best", 5, False)
    assert [item["value"] for item in plain["meets"]] == [0.891]


def test_without_intervals_it_says_so() -> None:
    found = choose([made(0.2, 1, metric="cross_entropy"), made(0.3, 2, metric="cross_entropy")], "lower")
    assert isinstance(found, Best)
    assert found.meets == ()
    assert "has no interval yet" in str(found)


def test_other_data_of_the_same_name_is_left_out() -> None:
    found = choose([made(0.9, 1), made(0.99, 2)], "higher", lambda item: item["checkpoint"]["step"] == 2)
    assert (steps((found.best,)), steps(found.elsewhere)) == ([1], [2])


def test_several_data_sets_need_a_name() -> None:
    assert one_data(["test"], None) == "test"
    assert one_data(["test", "train"], "train") == "train"
    with pytest.raises(UsageError, match="several data sets are on record: test, train"):
        one_data(["test", "train"], None)
    with pytest.raises(UsageError, match="there are: test"):
        one_data(["test"], "other")
