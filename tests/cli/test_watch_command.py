"""`milepost watch` as a command: what it prints, its exit codes, Ctrl-C, and what `failures` says afterwards."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests._material import ENVIRONMENT, MILEPOST, checkpoints, command, lines_of

from milepost.cli import main
from milepost.cli._arguments import seconds

EVALUATION = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests._material import evaluation_of

evaluation = evaluation_of(300)
"""

Shown = pytest.CaptureFixture[str]


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    file = tmp_path / "ev.py"
    file.write_text(EVALUATION)
    return file


def words(evaluation: Path, *more: str) -> list[str]:
    folder = evaluation.parent
    return ["watch", str(evaluation), str(folder / "run"), "--store", str(folder / "evals"), "--poll", "0.05s", *more]


def test_json_reports_every_transition_and_the_end(evaluation: Path, tmp_path: Path) -> None:
    checkpoints(tmp_path / "run", 1, 2)
    (tmp_path / "run" / "step-3.npz").write_bytes((tmp_path / "run" / "step-1.npz").read_bytes()[:-1])
    (tmp_path / "run" / "DONE").touch()
    ended = command(*words(evaluation, "--until", "done", "--json"))
    assert ended.returncode == 3, ended.stderr
    events = lines_of(ended.stdout)
    assert {item["event"] for item in events} == {"checkpoint", "record", "failure", "done"}
    assert [item["state"] for item in events.of("checkpoint") if item["step"] == 2] == [
        "seen",
        "complete",
        "claimed",
        "done",
    ]
    assert events[-1] == {"event": "done", "evaluated": 2, "up_to_date": 0, "failed": 1, "vanished": 0, "skipped": 0}
    assert "DONE is there: what is left is evaluated" in ended.stderr


def test_without_json_it_says_what_was_done_and_what_is_the_matter(evaluation: Path, tmp_path: Path) -> None:
    checkpoints(tmp_path / "run", 1)
    ended = command(*words(evaluation, "--max-steps", "1", "--order", "latest", "--engine", "inprocess"))
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert "step 1 was reached: what is left is evaluated" in ended.stderr
    assert "evaluated 1, up to date 0, failed 0, vanished 0, skipped (--every) 0; store" in ended.stderr


def test_ctrl_c_says_what_is_kept_and_exits_130(evaluation: Path, tmp_path: Path) -> None:
    checkpoints(tmp_path / "run", 1)
    with open(tmp_path / "out", "w") as out, open(tmp_path / "err", "w") as message:
        process = subprocess.Popen(
            [*MILEPOST, *words(evaluation, "--json")], env=ENVIRONMENT, stdout=out, stderr=message, text=True
        )
    limit = time.monotonic() + 60
    while '"done"' not in (tmp_path / "out").read_text():
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    errors = (tmp_path / "err").read_text()
    assert "stopped; 1 checkpoints were finished in this watch" in errors
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors
    again = command(*words(evaluation, "--max-steps", "1", "--json"))
    assert lines_of(again.stdout)[-1]["up_to_date"] == 1


def test_what_vanished_is_listed_by_failures(
    evaluation: Path, tmp_path: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = checkpoints(tmp_path / "run", 1, 2, 3)
    (run / "DONE").touch()
    real = os.link

    def link(source: object, target: object) -> None:
        if str(source).startswith(str(run)):
            raise OSError(18, "Invalid cross-device link")
        real(str(source), str(target))

    class Deleting:
        """Writes lines, and deletes a checkpoint when the first of the others is claimed."""

        def write(self, event: dict[str, str]) -> None:
            if event.get("state") == "claimed":
                (run / "step-3.npz").unlink(missing_ok=True)

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr("milepost.cli._output.JsonLines.write", lambda _, event: Deleting().write(event))
    code = main(words(evaluation, "--until", "done", "--json", "--engine", "inprocess", "--per-pass", "1"))
    monkeypatch.undo()
    assert code == 3
    capsys.readouterr()
    assert main(["failures", "--store", str(tmp_path / "evals"), "--json"]) == 0
    (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert (line["step"], line["class"], line["run"]) == (3, "vanished", "run")
    assert "raise keep-last (max_to_keep), or put the store on the same file system" in line["message"]


def test_errors_of_the_evaluation_file_and_of_usage_end_it(evaluation: Path, tmp_path: Path, capsys: Shown) -> None:
    checkpoints(tmp_path / "run", 1)
    evaluation.write_text("evaluation = 1 / 0\n")
    assert main(words(evaluation, "--until", "done")) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err
    evaluation.write_text(EVALUATION)
    inside = ["watch", str(evaluation), str(tmp_path / "run"), "--store", str(tmp_path / "run" / "evals")]
    assert main([*inside, "--engine", "inprocess"]) == 2
    assert "would lie in the training folder" in capsys.readouterr().err
    assert main(words(evaluation, "--order", "random")) == 2
    assert main(words(evaluation, "--idle", "soon")) == 2
    assert "expected a time above 0 such as 90s, 10m, 2h or 1d, found 'soon'" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400)])
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == expected
