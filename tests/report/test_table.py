"""The table as data: golden rows."""

import pytest
from tests.report import samples

from milepost.report.table import Cell, build, each, newest


def test_golden_rows() -> None:
    table = build(*samples.run_of_three())
    assert table.metrics == ("top1", "cross_entropy")
    assert [(row.step, row.names, row.n, row.status) for row in table.rows] == [
        (100, ("step-100",), 10_000, "ok"),
        (200, ("step-200",), None, "mismatch"),
        (900, ("step-900", "last", "best"), 10_000, "ok"),
    ]
    assert table.rows[0].cells["top1"] == Cell(0.9412, 0.9362, 0.9462, 0.9411, 256, share=True)
    assert table.rows[0].cells["cross_entropy"] == Cell(0.21, None, None, 0.211, 256)
    assert table.rows[1].failed
    assert not table.rows[1].cells


def test_a_checkpoint_without_records_is_a_row() -> None:
    row = {**samples.checkpoint(100, "step-100"), "state": "seen"}
    (found,) = build([], [row]).rows
    assert (found.status, found.failed, found.n) == ("seen", False, None)


def test_a_failure_beside_records_is_a_row_of_its_own() -> None:
    records, checkpoints = samples.run_of_three()
    checkpoints[0]["failure"] = {"kind": "model error", "message": "boom"}
    rows = [row for row in build(records, checkpoints).rows if row.step == 100]
    assert sorted(row.status for row in rows) == ["model error", "ok"]


def test_one_content_in_two_variants_has_two_rows() -> None:
    records, checkpoints = samples.run_of_three()
    checkpoints.append({**samples.checkpoint(100, "step-100"), "variant": "ema"})
    rows = [row for row in build(records, checkpoints).rows if row.step == 100]
    assert [row.variant for row in rows] == ["raw", "ema"]
    assert rows[0].cells == rows[1].cells


def test_undefined_is_not_absent() -> None:
    note = "undefined: 3 rows are non-finite"
    records = [{**samples.record(100, "cross_entropy", None), "note": note}, samples.record(900, "top1", 0.5)]
    first, second = build(records, []).rows
    assert first.cells["cross_entropy"] == Cell(undefined=True, note=note)
    assert "cross_entropy" not in second.cells


def test_infinity_comes_as_text() -> None:
    (row,) = build([samples.record(100, "cross_entropy", "inf")], []).rows
    assert row.cells["cross_entropy"].value == float("inf")


def test_the_evaluations_own_batch_size_is_shown_not_one_asked_for_later() -> None:
    records, checkpoints = samples.run_of_three()
    asked = samples.record(100, "top1", 0.5, size=36)
    row = build([asked, *records], checkpoints).rows[0]
    assert row.cells["top1"].batch_size == 256


def test_values_that_are_no_headline_are_left_out() -> None:
    records = [samples.record(100, "top1", 0.5), {**samples.record(100, "max_gap", 0.5), "headline": False}]
    assert build(records, []).metrics == ("top1",)


def test_shares_stand_before_other_means_with_an_interval() -> None:
    loss = samples.record(100, "cross_entropy", 0.5)
    loss["intervals"] = [{"low": 0.4, "high": 0.6, "level": 0.95, "method": "t", "kind": "population"}]
    assert build([loss, samples.record(100, "top1", 0.5)], []).metrics == ("top1", "cross_entropy")


def test_shares_first_and_numbers_in_their_order() -> None:
    names = ("accuracy", "cross_entropy", "max_error", "error", "max_alone", "top10", "top5")
    records = [samples.record(100, name, 0.5) for name in names]
    assert build(records, []).metrics == ("top5", "top10", "accuracy", "cross_entropy", "error", "max_alone")


def test_newest_goes_by_the_run_seen_last_then_by_step() -> None:
    old = [{**samples.checkpoint(step, "a", run="z-old-00000000"), "step": step} for step in (100, 200, 900)]
    new = [{**samples.checkpoint(step, "a", run="a-new-00000000"), "step": step} for step in (100, 200)]
    for row in new:
        row["checkpoints"][0]["seen"] = "2026-02-01T00:00:00Z"
    found = newest([*old, *new], 3)
    assert [(row["run"][0], row["step"]) for row in found] == [("z", 900), ("a", 100), ("a", 200)]
    assert len(newest(old, 50)) == 3


@pytest.mark.parametrize(("current", "names"), [(False, ("step-9", "last")), (True, ("step-9",))])
def test_superseded_names_are_known_but_not_current(current: bool, names: tuple[str, ...]) -> None:
    row = {"checkpoints": [{"name": "step-9", "current": True}, {"name": "last", "current": False}]}
    assert each(row, "name", current=current) == names
