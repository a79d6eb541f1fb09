"""Everything known of one checkpoint, as lines."""

from typing import Any

import numpy as np
from tests.report import samples

from milepost.report._model_check import NearTies
from milepost.report.show import Evaluated, describe, drawn
from milepost.report.tables_text import table_lines


def lines_of(
    records: list[dict[str, Any]], checkpoint: dict[str, Any], evaluations: tuple[Evaluated, ...] = ()
) -> list[str]:
    return drawn(describe(checkpoint, records, evaluations))


def test_values_intervals_and_the_gap_in_words() -> None:
    exact = {**samples.record(900, "top1", 299 / 360, n=360), "tied": 2, "nonfinite": 1}
    gap = {"value": 0.084486, "batches": 2, "last_rows": 1, "full": 298 / 359, "last": 1.0}
    mean = {**samples.record(900, "top1", (298 / 359 + 1) / 2, n=360, size=359), "gap": gap}
    events = "\n".join(lines_of([exact, mean], samples.checkpoint(900, "step-900", "last")))
    for piece in (
        "0.830556 = 299/360",
        "[0.825556, 0.835556] 95 % wilson, population",
        "batch mean of 359 rows: 0.915042; the last batch of 1 row counts like 359",
        "step-900, last",
        "2 rows whose label shares its score",
        "1 row with a score that is not a number",
        samples.DIGESTS[900],
        "360 (ok)",
    ):
        assert piece in events, piece


def test_a_clustered_interval_says_what_it_rests_on() -> None:
    exact = samples.record(900, "top1", 299 / 360, n=360)
    exact["intervals"][0] |= {"effective_n": 88.4, "groups": 9, "note": "too few groups"}
    lines = lines_of([exact], samples.checkpoint(900, "step-900"))
    (at,) = (place for place, line in enumerate(lines) if "95 % wilson" in line)
    assert lines[at].endswith("95 % wilson, population, 9 groups that say as much as 88 independent rows")
    assert lines[at + 1].split() == ["note:", "too", "few", "groups"]


def test_a_rename_to_nothing_is_shown() -> None:
    given = {"restore": {"tower.": "", "": "net."}, "rename": [["_(.)$", ""]]}
    evaluated = Evaluated("k1", {"data_name": "test", "model": {"name": "torch", **given}})
    lines = drawn(describe(samples.checkpoint(900, "step-900"), [], [evaluated], {"overrides": given}))
    for what in ("overrides", "model"):
        (restore,) = (line for line in lines if line.startswith(f"  {what}.restore"))
        assert restore.split(None, 1)[1] == "tower. -> (nothing), (top) -> net."
        (rename,) = (line for line in lines if line.startswith(f"  {what}.rename"))
        assert rename.split(None, 1)[1] == "_(.)$ -> (nothing)"


def test_doubled_rows_stand_beside_the_values_once() -> None:
    spec = {"data_name": "test"}
    evaluated = tuple(Evaluated(key, spec, doubled="9 of 18 rows repeat an earlier row") for key in ("k1", "k2"))
    lines = lines_of([samples.record(900, "top1", 0.5)], samples.checkpoint(900, "step-900"), evaluated)
    assert [line.split(None, 1)[1] for line in lines if line.startswith("  doubled")] == [evaluated[0].doubled]


def test_what_rounding_could_move_stands_there_once_or_for_each_evaluation() -> None:
    def rounding(*measured: int) -> list[str]:
        ties = [NearTies(near=1, rows=9, relative=1e-7, measured=rows) for rows in measured]
        evaluated = tuple(Evaluated(f"k{one.measured}", {"data_name": "test"}, ties=one) for one in ties)
        lines = lines_of([samples.record(900, "top1", 0.5)], samples.checkpoint(900, "step-900"), evaluated)
        return [line for line in lines if line.startswith("  rounding")]

    assert [line.endswith("never guaranteed)") for line in rounding(8, 8)] == [True]
    assert [line.rpartition("; ")[2] for line in rounding(8, 9)] == ["evaluation k8", "evaluation k9"]


def test_provenance_and_environments() -> None:
    spec = {"weights": "d1", "task": {"name": "classification", "outputs": "logits"}, "code": "c0de", "skipped": None}
    environments = [
        {"device": "cpu", "threads": 2, "rows": 256, "timings": {"load": 0.012, "model": 7.0}},
        {"device": "cpu", "threads": 1, "rows": 104},
    ]
    evaluated = Evaluated("k1", spec, {"kind": "arrays"}, environments)
    lines = lines_of([], samples.checkpoint(900, "step-900"), (evaluated,))
    assert "  kind  arrays" in lines
    assert "evaluation k1" in lines
    assert "  task.outputs  logits" in lines
    assert "environment: mixed, 2 different" in lines
    assert any(line.endswith("load 12 ms, model 7.0 s") for line in lines)
    assert not any("skipped" in line for line in lines)


def test_columns_that_came_later_in_the_same_environment_are_not_mixed() -> None:
    one = {"device": "cpu", "threads": 2, "rows": 256, "column_set": "a"}
    environments = [one, {**one, "column_set": "b", "timings": {"model": 1.0}}]
    lines = lines_of([], samples.checkpoint(900, "step-900"), (Evaluated("k1", {}, {}, environments),))
    titles = [line for line in lines if line.startswith("environment")]
    assert titles == ["environment", "environment, the same for other columns"]


def test_a_failed_checkpoint_reports_the_whole_message() -> None:
    lines = lines_of([], samples.failed(200, "mismatch", "fc.weight is missing\nnearest: fc2.weight"))
    assert any(line.endswith("mismatch: fc.weight is missing") for line in lines)
    assert any(line.strip() == "nearest: fc2.weight" for line in lines)


def test_superseded_paths_say_so() -> None:
    row = samples.checkpoint(900, "step-900", "last")
    row["checkpoints"][1] |= {"current": False, "overwritten": True}
    lines = lines_of([], row)
    assert any("last.pt" in line and "holds something else by now" in line for line in lines)


def test_tables_of_arrays() -> None:
    assert table_lines({"rows": np.array([3, 0]), "accuracy": np.array([2 / 3, np.nan])}) == [
        "#  rows   accuracy",
        "0     3     0.6667",
        "1     0  undefined",
    ]
    assert table_lines({"matrix": np.array([[5, 1], [0, 4]])}) == [
        "matrix: 2 x 2 [label, prediction]",
        "#  0  1",
        "0  5  1",
        "1  0  4",
    ]


def test_large_tables_are_cut_and_say_so() -> None:
    matrix = np.eye(30, dtype=np.int64)
    matrix[4, 9], matrix[9, 4] = 12, 7
    assert table_lines({"matrix": matrix}) == [
        "matrix: 30 x 30 [label, prediction]",
        "  label 4 predicted as 9: 12",
        "  label 9 predicted as 4: 7",
    ]
    assert table_lines({"support": np.arange(30)})[-1] == "... 10 more rows"


def test_tables_by_class_name_the_classes() -> None:
    names = {0: "ant", 2: "bee"}
    square = {"support": np.array([6, 0, 4]), "matrix": np.array([[5, 1, 0], [0, 0, 0], [1, 0, 3]])}
    assert table_lines(square, names) == [
        "#  class  support",
        "0  ant          6",
        "1  -            0",
        "2  bee          4",
        "matrix: 3 x 3 [label, prediction]",
        "#  class  0  1  2",
        "0  ant    5  1  0",
        "1  -      0  0  0",
        "2  bee    1  0  3",
    ]
    assert table_lines({"rows": np.array([1])}, names) == ["#  rows", "0     1"], "the rows of a table of bins"
    matrix = np.zeros((13, 13), np.int64)
    matrix[2, 7] = 3
    assert table_lines({"support": np.arange(13), "matrix": matrix}, names)[-1] == "  label 2 (bee) predicted as 7: 3"
