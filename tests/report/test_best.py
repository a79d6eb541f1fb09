"""Choosing the best: undefined never wins, a part is not compared with the whole; and what is said of it."""

from typing import Any

import pytest
from tests._material import unwrapped
from tests.report.samples import record

from milepost.errors import UsageError
from milepost.report._ranking import Ranking, one_data, rank
from milepost.report._whereabouts import HERE, FileNow
from milepost.report.best import Best, PairTests, Rival, Selection
from milepost.stats.interval import Interval
from milepost.stats.tied_set import PairResult


def made(value: Any, step: int = 100, *, metric: str = "top1", **changes: Any) -> dict[str, Any]:
    base = record(100, metric, value if isinstance(value, float) else None)
    checkpoint = {"path": f"runs/step-{step}.pt", "step": step, "digest": f"{step:032x}", "variant": "raw"}
    return {**base, "value": value, "checkpoint": checkpoint, **changes}


def steps(records: tuple[Any, ...]) -> list[int]:
    return [item["checkpoint"]["step"] for item in records]


def shown(ranking: Ranking, **changes: Any) -> Best:
    given: dict[str, Any] = {"tied": (), "worse": (), "untested": (), "test": None, "selection": None}
    return Best(ranking, "all", **{**given, "file": FileNow("/runs/step-1.pt", HERE), **changes})


def test_the_direction_decides() -> None:
    records = [made(value, step, metric="cross_entropy") for step, value in ((1, 0.5), (2, 0.25), (3, 0.75))]
    assert steps(rank(records, "lower").ranked[:1]) == [2]
    assert steps(rank(records, "higher").ranked[:1]) == [3]


def test_an_undefined_or_infinite_value_never_wins() -> None:
    records = [made(None, 1), made("nan", 2), made(0.1, 3), made("inf", 4)]
    found = rank(records, "lower")
    assert steps((found.ranked[0],)) == [3]
    assert steps(found.undefined) == [1, 2]
    assert steps(found.ranked) == [3, 4]


def test_nothing_defined_is_an_error() -> None:
    with pytest.raises(UsageError, match="2 undefined"):
        rank([made(None, 1), made(None, 2)], "higher")


def test_a_part_is_not_compared_with_the_whole() -> None:
    records = [made(0.9, 1), made(0.99, 2, status="partial 100/10000", n=100)]
    found = rank(records, "higher")
    assert (steps((found.ranked[0],)), steps(found.partial)) == ([1], [2])
    assert "not compared, covered in part: step-2.pt (partial 100/10000)" in unwrapped(str(shown(found)))


def test_parts_are_compared_where_there_is_nothing_else() -> None:
    records = [made(0.9, 1, status="partial 100/10000"), made(0.99, 2, status="partial 100/10000")]
    found = rank(records, "higher")
    assert (steps((found.ranked[0],)), found.partial) == ([2], ())
    assert "covered in part only" in unwrapped(str(shown(found)))


def test_what_is_tied_worse_and_untested_is_listed() -> None:
    records = [made(value, step) for step, value in ((1, 0.9), (2, 0.5), (3, 0.9), (4, 0.891))]
    ranking = rank(records, "higher")
    found = shown(
        ranking,
        tied=(Rival(records[2], PairResult(0.0, 0.001, 1.0, worse=False)),),
        worse=(Rival(records[1], PairResult(0.4, 0.01, 1e-9, worse=True)),),
        untested=(Rival(records[3], why="the outcomes are not kept"),),
        test=PairTests("McNemar exact, Bonferroni over all pairs", 0.05, 3, 0.05 / 3),
        file=FileNow("/runs/step-1.pt", "gone"),
        there=records[2],
        there_file=FileNow("/runs/step-3.pt", HERE),
    )
    text = unwrapped(str(found))
    assert "1 tied with the best, 1 significantly worse: McNemar exact, Bonferroni over all pairs (3)" in text
    assert "significant below p = 0.017" in text
    assert "1 untested, neither tied nor worse: the outcomes are not kept" in text
    assert "no cross-fitted value" in text
    assert "/runs/step-1.pt: gone" in text
    assert "the best that is still there: /runs/step-3.pt, 0.9000" in text
    plain = found.plain()
    assert (plain["event"], plain["compared"]) == ("best", 4)
    assert [(item["value"], item["difference"], item["p_value"]) for item in plain["worse"]] == [(0.5, 0.4, 1e-9)]
    assert [item["why"] for item in plain["untested"]] == ["the outcomes are not kept"]
    assert plain["still_there"]["file"] == {"path": "/runs/step-3.pt", "state": HERE}


def test_the_value_of_the_selected_is_shown_with_its_optimism() -> None:
    selection = Selection(20, 0.89, 0.01, Interval(0.88, 0.9, 0.95, "wilson"))
    found = shown(rank([made(0.9, 1)], "higher"), selection=selection)
    assert "selected among 20: cross-fitted 0.8900 [0.8800, 0.9000]" in str(found)
    assert "the value above is 0.0100 better" in str(found)
    assert found.plain()["selection"]["interval"]["low"] == 0.88


def test_other_data_of_the_same_name_is_left_out() -> None:
    found = rank([made(0.9, 1), made(0.99, 2)], "higher", lambda item: item["checkpoint"]["step"] == 2)
    assert (steps((found.ranked[0],)), steps(found.elsewhere)) == ([1], [2])
    with pytest.raises(UsageError, match=r"2 evaluated on other data of this name than the newest evaluation"):
        rank([made(0.9, 1), made(0.99, 2)], "higher", lambda _: True)


def test_several_data_sets_need_a_name() -> None:
    assert one_data(["test"], None) == "test"
    assert one_data(["test", "train"], "train") == "train"
    with pytest.raises(UsageError, match="several data sets are on record: test, train"):
        one_data(["test", "train"], None)
    with pytest.raises(UsageError, match="there are: test"):
        one_data(["test"], "other")
