"""What to do next: pure functions; and `plan`, which writes nothing and says what `run` then does."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests._material import checkpoints, contents, evaluation_of, go, planned, request_of

from milepost._internal.ranges import covered, missing
from milepost.core.types import CheckpointFiles, Identity, Target
from milepost.run.planning import DataRequest, units
from milepost.run.run import plan
from milepost.store.keys import evaluation_key, subject

Ranges = list[tuple[int, int]]

ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda pair: (pair[0], pair[0] + pair[1])))


@given(ranges, st.integers(0, 70))
def test_missing_and_covered_are_the_rows_themselves(have: Ranges, stop: int) -> None:
    rows = {row for start, end in have for row in range(start, end)}
    gaps = missing(have, stop)
    assert [row for start, end in gaps for row in range(start, end)] == [row for row in range(stop) if row not in rows]
    assert all(left[1] < right[0] for left, right in pairwise(gaps))
    assert covered(have, stop) == len(rows & set(range(stop)))


@given(st.lists(ranges, max_size=4))
def test_units_ask_each_target_for_what_it_lacks_and_share_equal_ranges(lacking: list[Ranges]) -> None:
    targets = [target(number) for number in range(len(lacking))]
    wanted = [missing(have, 50) for have in lacking]
    made = units(zip(targets, wanted, strict=True), "test")
    for one, gaps in zip(targets, wanted, strict=True):
        assert [(unit.start, unit.stop) for unit in made if one in unit.targets] == gaps
    bounds = [(unit.start, unit.stop) for unit in made]
    assert bounds == sorted(set(bounds))
    assert {unit.data for unit in made} <= {"test"}


def target(number: int) -> Target:
    return Target(
        CheckpointFiles(f"{number}.npz", "npz", (f"{number}.npz",), Identity(1, number, 1, 1, 1)), "raw", f"{number}"
    )


def test_the_key_depends_on_all_that_outcomes_depend_on() -> None:
    base = ("weights", "data", {"name": "classification"}, "code")
    keys = {evaluation_key(*base), evaluation_key(*base, 1)}
    for place, other in enumerate(("other", "other", {"name": "binary"}, "other")):
        changed = [*base]
        changed[place] = other
        keys.add(evaluation_key(*changed))  # type: ignore[arg-type]
    assert len(keys) == 6
    # Golden: a change of what a key means is a change of SCHEMA.
    assert evaluation_key(*base) == "dda2fb8f0aa985f93cec3b1ffa26d903"


def test_the_subject_is_the_task_and_what_else_was_declared() -> None:
    task = {"name": "classification"}
    plain: dict[str, Any] = {"task": task, "model": {}, "settings": {}, "entry": None, "batch_size": 8}
    assert subject(plain) == task  # so that keys stay what they were
    more: list[dict[str, Any]] = [
        {"model": {"name": "torch", "dtype": "bfloat16"}},
        {"settings": {"WIDTH": 3}},
        {"entry": "clean"},
    ]
    subjects = [subject({**plain, **item}) for item in more]
    assert subjects == [{"task": task, **item} for item in more]
    keys = [evaluation_key("weights", "data", item, "code") for item in (task, *subjects)]
    assert len(set(keys)) == 4
    # Golden: a change of what a key means is a change of SCHEMA.
    assert keys[1] == "9745ecf1ef9cd6e3bdc00cfd5ebd701e"


@pytest.mark.parametrize(("size", "limit", "rows"), [(10, None, 10), (10, 3, 3), (10, 10, 10), (10, 99, 10)])
def test_wanted_rows(size: int, limit: int | None, rows: int) -> None:
    assert DataRequest(size, limit).rows == rows


def test_a_plan_writes_nothing_and_run_does_what_it_lists(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100, 200)
    store = tmp_path / "evals"
    before = planned(evaluation_of(), folder, store=store)
    assert before == {f"step-{step}/raw": "evaluate: no result on this data yet" for step in (100, 200)}
    assert not store.exists()
    go(evaluation_of(), folder, store=store, match="step-100*")
    kept, names = contents(store), sorted(str(path) for path in store.rglob("*"))
    checkpoints(tmp_path / "other", 300)
    rows = plan(request_of(evaluation_of(), folder, tmp_path / "other", store=store), lambda _: None)
    assert {row["name"]: (row["action"], row["rows"]) for row in rows} == {
        "step-100": ("skip", 0),
        "step-200": ("evaluate", 700),
        "step-300": ("evaluate", 700),
    }
    assert all(row["seconds"] > 0 for row in rows if row["action"] == "evaluate")
    assert contents(store) == kept
    assert [name for name in names if "index" not in name] == [
        str(path) for path in sorted(store.rglob("*")) if "index" not in path.name
    ]
    events = go(evaluation_of(), folder, tmp_path / "other", store=store)
    assert events.done == (2, 1, 0)


def test_a_plan_lists_failures_limits_metrics_and_new_code(tmp_path: Path) -> None:
    from milepost.metrics.top_k import TopK

    folder = checkpoints(tmp_path / "lenet", 100)
    (folder / "step-200.npz").write_bytes((folder / "step-100.npz").read_bytes()[:300])
    store = tmp_path / "evals"
    found = planned(evaluation_of(), folder, store=store)
    assert found["step-200/raw"].startswith("failed: torn: ")
    go(evaluation_of(), folder, store=store, limit=300)
    assert planned(evaluation_of(), folder, store=store)["step-100/raw"] == "evaluate: 300 of 700 rows are there"
    go(evaluation_of(), folder, store=store)
    assert planned(evaluation_of(), folder, store=store)["step-100/raw"] == "skip: nothing is missing"
    more = evaluation_of(metrics=[TopK(1), TopK(7)])
    assert planned(more, folder, store=store)["step-100/raw"] == "score: scored from kept columns"
    changed = planned(evaluation_of(version="2"), folder, store=store)
    assert changed["step-100/raw"] == (
        "check: a code check decides: skip (nothing is missing) or evaluate (no result on this data yet)"
    )
    assert planned(evaluation_of(), folder, store=store, again=True)["step-100/raw"].startswith("evaluate: ")
