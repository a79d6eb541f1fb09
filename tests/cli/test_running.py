"""`run` and `plan` over a driver that only tells events; the demo over the real one."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from milepost.cli import main
from milepost.errors import DataError, EvaluationFileError

Shown = pytest.CaptureFixture[str]
Install = Callable[..., Any]


def events(tmp_path: Path) -> list[dict[str, Any]]:
    seen = {"run": "lenet", "path": str(tmp_path / "lenet" / "step-100.pt"), "name": "step-100", "step": 100}
    return [
        {"event": "start", "store": str(tmp_path / "evals"), "code": "c0de", "checkpoints": 2},
        {"event": "note", "message": "resumes 1 checkpoint"},
        {"event": "checkpoint", **seen, "variant": "raw", "state": "done"},
        {"event": "record", "metric": "top1", "value": float("inf")},
        {"event": "failure", "path": "b.pt", "class": "torn", "message": "12 bytes missing", "attempts": 1},
    ]


def test_run_prints_the_table_of_what_it_met_and_exits_3_with_failures(
    store: Path, driver: Install, evaluation: str, tmp_path: Path, capsys: Shown
) -> None:
    module = driver(events(tmp_path), (1, 0, 1))
    assert main(["run", evaluation, "runs", "--store", str(store), "--limit", "36", "--device", "cpu"]) == 3
    (request,) = module.requests
    assert (request.checkpoints, request.limit, request.device) == (("runs",), 36, "cpu")
    assert (request.file, request.attribute) == (evaluation, "evaluation")
    shown = capsys.readouterr()
    rows = [line for line in shown.out.splitlines() if "step-" in line]
    assert ["step-100" in row for row in rows] == [True]
    for piece in ("resumes 1 checkpoint", "done: step-100 (step 100)", "failed: b.pt: torn: 12 bytes missing"):
        assert piece in shown.err
    assert "evaluated 1, skipped 0, failed 1" in shown.err


def test_run_json_prints_records_failures_and_the_end(
    store: Path, driver: Install, evaluation: str, tmp_path: Path, capsys: Shown
) -> None:
    driver(events(tmp_path), (1, 2, 0))
    assert main(["run", evaluation, "runs", "--store", str(store), "--json"]) == 0
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert [line["event"] for line in lines] == ["record", "failure", "done"]
    assert lines[0]["value"] == "inf"
    assert lines[-1] == {"event": "done", "evaluated": 1, "skipped": 2, "failed": 0, "checked": 0}
    assert "the user's own code prints this" in shown.err


def test_nothing_left_is_reported(store: Path, driver: Install, evaluation: str, capsys: Shown) -> None:
    driver([], (0, 12, 0))
    assert main(["run", evaluation, "runs", "--store", str(store)]) == 0
    assert "nothing was left to do" in capsys.readouterr().err


def test_ctrl_c_exits_130_and_says_how_to_go_on(
    store: Path, driver: Install, evaluation: str, tmp_path: Path, capsys: Shown
) -> None:
    driver(events(tmp_path), KeyboardInterrupt())
    assert main(["run", evaluation, "runs", "--store", str(store), "--json"]) == 130
    errors = capsys.readouterr().err
    assert "1 checkpoints were finished" in errors
    assert "the same command resumes" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "error", [DataError("labels: 12 of 10 classes"), EvaluationFileError("eval.py: no `evaluation`")]
)
def test_errors_of_data_and_usage_exit_2(
    store: Path, driver: Install, evaluation: str, error: Exception, capsys: Shown
) -> None:
    driver([], error)
    assert main(["run", evaluation, "runs", "--store", str(store)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"milepost: error: {error}"


PLANNED = [
    {"run": "lenet", "path": "a", "name": "step-1", "step": 1, "variant": "raw", "digest": "d", "data": "test"}
    | {"action": "evaluate", "reason": "no result yet", "rows": 1000, "seconds": 2.0},
    {"run": "lenet", "path": "b", "name": "last", "step": None, "variant": "raw", "digest": "d", "data": "test"}
    | {"action": "skip", "reason": "same weights as a", "rows": 0, "seconds": None},
    {"run": "lenet", "path": "c", "name": "step-2", "step": 2, "variant": "raw", "digest": None, "data": None}
    | {"action": "failed", "reason": "torn: 12 bytes missing\nmore", "rows": 0, "seconds": None},
]


def test_plan_says_what_and_why(driver: Install, evaluation: str, capsys: Shown) -> None:
    driver([], None, PLANNED)
    assert main(["plan", evaluation, "runs"]) == 0
    _, first, second, third, last = capsys.readouterr().out.splitlines()
    assert first.split() == [
        "evaluate",
        "lenet",
        "1",
        "step-1",
        "raw",
        "test",
        "1,000",
        "2.0",
        "s",
        "no",
        "result",
        "yet",
    ]
    assert second.endswith("same weights as a")
    assert third.endswith("torn: 12 bytes missing")
    assert last == "1 to evaluate (1,000 rows, about 2.0 s), 0 to score, 1 to skip, 1 failed"


def test_plan_json(driver: Install, evaluation: str, capsys: Shown) -> None:
    driver([], None, PLANNED)
    assert main(["plan", evaluation, "runs", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["plan", "plan", "plan", "done"]
    assert lines[-1] == {"event": "done", "evaluate": 1, "check": 0, "score": 0, "skip": 1, "failed": 1}


def test_the_demo_evaluates_twice_and_the_second_time_does_nothing(tmp_path: Path) -> None:
    code = "import sys, milepost.cli as c; sys.exit(c.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "demo", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    first, second = [line for line in lines if line["event"] == "done"]
    assert first["evaluated"] >= 12
    assert first["failed"] == 0
    assert second == {"event": "done", "evaluated": 0, "skipped": first["evaluated"] + first["skipped"], "failed": 0}
    exact = [line for line in lines if line.get("metric") == "top1" and line["estimator"] == "exact"]
    assert len(exact) == first["evaluated"]
    assert max(line["value"] for line in exact) > 0.95
    assert all(line["n"] == 360 for line in exact)
