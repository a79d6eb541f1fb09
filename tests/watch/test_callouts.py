"""The commands that a watch calls: a real process, a real watch, and what may become of either."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import ENVIRONMENT, FEATURES, MILEPOST, command, examples, lines_of, process, save

from milepost.errors import UsageError
from milepost.store._storage import FolderStorage
from milepost.store.called_out import CalledOut
from milepost.watch.callouts import Callouts, Command

EVALUATION = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests._material import evaluation_of

evaluation = evaluation_of(300)
"""
NOTES = """
import json, os, sys
given = {key: value for key, value in os.environ.items() if key.startswith("MILEPOST_")}
with open(sys.argv[1], "a") as file:
    print(json.dumps([sys.argv[2:], given]), file=file)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "ev.py").write_text(EVALUATION)
    (tmp_path / "note.py").write_text(NOTES)
    (tmp_path / "run").mkdir()
    return tmp_path


def trained(quality: float) -> dict[str, Any]:
    """Return weights that are right the more often, the higher the quality is."""
    inputs, labels = examples(300)
    wanted = np.eye(10)[labels]
    fitted = np.linalg.lstsq(np.c_[inputs, np.ones(300)], wanted, rcond=None)[0]
    noise = np.random.default_rng(0).normal(size=fitted.shape)
    mixed = (quality * fitted + (1 - quality) * noise).astype(np.float32)
    return {"w": mixed[:FEATURES], "b": mixed[FEATURES]}


def noting(place: Path, *words: str) -> str:
    return shlex.join([sys.executable, str(place / "note.py"), str(place / "notes.jsonl"), *words])


def notes(place: Path) -> list[Any]:
    file = place / "notes.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def watched(place: Path, *words: object) -> subprocess.CompletedProcess[str]:
    fixed = ["watch", place / "ev.py", place / "run", "--store", place / "evals", "--poll", "0.05s", "--per-pass", "1"]
    return command(*fixed, "--engine", "inprocess", "--until", "done", *words)


def test_each_new_best_is_called_out_once_with_what_it_is(place: Path) -> None:
    for step, quality in ((1, 0.2), (2, 0.9), (3, 0.5), (4, 1.0)):
        save(place / "run" / f"step-{step}.npz", trained(quality))
    (place / "run" / "DONE").touch()
    words = ["--metric", "cross_entropy", "--on-best", noting(place, "{step}", "at {path}", "{odd}")]
    ended = watched(place, *words, "--json")
    assert ended.returncode == 0, ended.stderr
    called = notes(place)
    values = {item["checkpoint"]["step"]: item["value"] for item in lines_of(ended.stdout).of("record")
              if (item["metric"], item["estimator"]) == ("cross_entropy", "exact")}  # fmt: skip
    bests = [step for step in values if all(values[step] < values[other] for other in values if other < step)]
    assert 1 < len(bests) <= 4
    assert [step for (step, _, _), _ in called] == list(map(str, bests))
    (step, at, odd), given = called[-1]
    assert (at, odd) == (f"at {place}/run/step-{step}.npz", "{odd}")
    assert given["MILEPOST_PATH"] == f"{place}/run/step-{step}.npz"
    assert (given["MILEPOST_EVENT"], given["MILEPOST_METRIC"], given["MILEPOST_RUN"]) == (
        "best",
        "cross_entropy",
        "run",
    )
    assert float(given["MILEPOST_VALUE"]) == values[int(step)]
    assert f"--on-best (step-{step}.npz): done in" in ended.stderr
    again = watched(place, *words)
    assert (again.returncode, notes(place)) == (0, called)  # a watch that is started again repeats none


def test_a_failure_is_called_out_with_its_reason(place: Path) -> None:
    (place / "run" / "step-1.npz").write_bytes(b"noise" * 99)
    (place / "run" / "DONE").touch()
    ended = watched(place, "--on-failure", noting(place, "{class}: {message}"))
    assert ended.returncode == 3
    ((words, given),) = notes(place)
    assert given["MILEPOST_EVENT"] == "failure"
    assert given["MILEPOST_CLASS"] in words[0].split(":")[0]
    assert given["MILEPOST_MESSAGE"]
    assert given["MILEPOST_PATH"].endswith("step-1.npz")


def test_a_name_is_data_and_never_a_command(place: Path) -> None:
    hostile = place / "run" / "$(touch hacked) `touch hacked`; touch hacked 'x'-1.npz"
    save(hostile, trained(0.5))
    (place / "run" / "DONE").touch()
    shell = """sh -c 'printf %s "$MILEPOST_PATH" > seen.txt'"""
    ended = watched(place, "--metric", "top1", "--on-best", f"env -C {shlex.quote(str(place))} {shell}")
    assert ended.returncode == 0, ended.stderr
    assert (place / "seen.txt").read_text() == str(hostile)
    assert not (place / "hacked").exists()
    for shells in ("sh -c 'cp {path} best.npz'", "env bash -ec 'cp {path} x'", "/bin/sh -c 'echo {message}'"):
        with pytest.raises(UsageError, match=r"a shell would run what stands in a file's name; write "):
            Command.parse("--on-best", shells)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["false"], "exit code 1"),
        (["sh", "-c", "echo no room left >&2; exit 7"], "exit code 7: no room left"),
        (["/nowhere/command"], "cannot be started: "),
        (["sh", "-c", "kill -9 $$"], "exit code -9"),
    ],
)
def test_a_command_that_fails_is_a_note_and_the_watch_goes_on(place: Path, words: list[str], reason: str) -> None:
    for step, quality in ((1, 0.2), (2, 0.9)):
        save(place / "run" / f"step-{step}.npz", trained(quality))
    (place / "run" / "DONE").touch()
    ended = watched(place, "--metric", "cross_entropy", "--on-best", shlex.join(words))
    assert ended.returncode == 0
    assert f"--on-best (step-1.npz): {reason}" in ended.stderr
    assert "evaluated 2," in ended.stderr


def test_a_command_that_hangs_is_ended_with_all_that_it_started(place: Path) -> None:
    save(place / "run" / "step-1.npz", trained(0.5))
    (place / "run" / "DONE").touch()
    deaf = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); pid = os.fork();"
    deaf += "open(__import__('sys').argv[1], 'a').write(f'{os.getpid()} '); time.sleep(999)"
    hanging = shlex.join([sys.executable, "-c", deaf, str(place / "pids")])
    ended = watched(place, "--metric", "top1", "--on-best", hanging, "--command-timeout", "1.5s")
    assert ended.returncode == 0
    assert "--on-best (step-1.npz): was ended after" in ended.stderr
    for pid in (place / "pids").read_text().split():
        assert not alive(int(pid))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ctrl_c_ends_the_command_and_the_watch(place: Path) -> None:
    save(place / "run" / "step-1.npz", trained(0.5))
    hanging = shlex.join(["sh", "-c", f"echo $$ > {shlex.quote(str(place / 'pid'))}; exec sleep 999"])
    asked = ["watch", place / "ev.py", place / "run", "--store", place / "evals", "--metric", "top1"]
    words = [*MILEPOST, *map(str, [*asked, "--on-best", hanging])]
    with subprocess.Popen(words, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 120
        while not ((place / "pid").exists() and (place / "pid").read_text().strip()):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert not alive(int((place / "pid").read_text()))


def test_a_name_of_no_value_is_reported_once_each_and_the_watch_goes_on(place: Path) -> None:
    save(place / "run" / "step-1.npz", trained(0.5))
    (place / "run" / "DONE").touch()
    ended = watched(place, "--metric", "accuracy", "--on-best", "true")
    assert ended.returncode == 0
    assert (
        "--on-best: no value 'accuracy' is on record; there are: cross_entropy, top1, top5 (did you mean top1?)"
        in ended.stderr
    )


def test_options_that_cannot_work_are_refused_before_anything_is_made(place: Path) -> None:
    for words, why in (
        (["--on-best", "true"], "--on-best CMD and --metric NAME go together"),
        (["--metric", "top1"], "--on-best CMD and --metric NAME go together"),
        (["--on-failure", "it's"], "expected a command as for a shell (No closing quotation)"),
        (["--on-failure", ""], "--on-failure: expected a command, found nothing"),
    ):
        ended = watched(place, *words)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert why in ended.stderr
    assert not (place / "evals").exists()


@pytest.mark.parametrize("sign", ["KILL", "INT"])
def test_a_call_that_a_killed_or_stopped_watch_left_is_made_by_the_next(place: Path, sign: str) -> None:
    for step, quality in ((1, 0.2), (2, 0.9)):
        save(place / "run" / f"step-{step}.npz", trained(quality))
    (place / "run" / "DONE").touch()
    fixed = ["watch", place / "ev.py", place / "run", "--store", place / "evals", "--until", "done"]
    words = ["--metric", "cross_entropy", "--on-best"]
    ends = f"sh -c 'kill -{sign} $PPID; exec sleep 99'"  # results are in the store, and the call has begun
    killed = process(*fixed, "--engine", "inprocess", *words, ends)
    assert killed.returncode == (130 if sign == "INT" else -signal.SIGKILL), killed.stderr
    again = watched(place, *words, noting(place, "{step}"))
    assert (again.returncode, [step for (step,), _ in notes(place)]) == (0, ["2"])
    assert "evaluated 0" in again.stderr
    assert (watched(place, *words, noting(place, "{step}")).returncode, len(notes(place))) == (0, 1)


def test_what_was_the_best_before_the_first_watch_that_calls_is_no_news(place: Path) -> None:
    save(place / "run" / "step-1.npz", trained(0.9))
    (place / "run" / "DONE").touch()
    assert watched(place).returncode == 0
    save(place / "run" / "step-2.npz", trained(0.2))
    assert watched(place, "--metric", "top1", "--on-best", noting(place, "{step}")).returncode == 0
    assert notes(place) == []


def test_a_failure_that_is_still_there_is_called_out_by_each_watch(place: Path) -> None:
    (place / "run" / "step-1.npz").write_bytes(b"noise" * 99)
    (place / "run" / "DONE").touch()
    for times in (1, 2):
        assert watched(place, "--on-failure", noting(place, "{class}")).returncode == 3
        assert len(notes(place)) == times


def test_what_another_watch_evaluated_is_not_called_out_twice(tmp_path: Path) -> None:
    called: list[str] = []

    def held() -> CalledOut:
        return CalledOut(FolderStorage(tmp_path), "top1", None)

    best = {"checkpoint": {"digest": "one", "path": "step-1.npz"}, "value": 1.0}
    with Callouts(lambda event: called.append(str(event.get("message"))), lambda _: best,
                  Command.parse("--on-best", "true"), None, 9.0, held) as callouts:  # fmt: skip
        callouts({"event": "record", "checkpoint": {"digest": "two"}})
        callouts({"event": "checkpoint", "state": "done", "run": "a", "path": "step-2.npz"})
    assert not any("--on-best" in text for text in called)
    assert os.environ.get("MILEPOST_PATH") is None


@pytest.mark.parametrize(
    ("answers", "ran", "words"),
    [
        ([False], False, "not run: the file was overwritten before"),
        ([True, False], True, "overwritten meanwhile"),
        ([True, True], True, "done in"),
    ],
)
def test_a_command_is_not_trusted_with_a_file_that_training_overwrote(
    tmp_path: Path,
    answers: list[bool],
    ran: bool,
    words: str,  # noqa: FBT001 - drawn
) -> None:
    notes_of: list[str] = []
    marker = tmp_path / "ran"

    def held() -> CalledOut:
        return CalledOut(FolderStorage(tmp_path), "top1", None)

    held().put("a", None)
    best = {"checkpoint": {"digest": "one", "path": "last.npz"}, "value": 1.0}
    still = iter(answers)
    command_ = Command.parse("--on-best", f"touch {marker}")
    with Callouts(lambda event: notes_of.append(str(event.get("message"))), lambda _: best,
                  command_, None, 9.0, held, lambda _: next(still)) as callouts:  # fmt: skip
        callouts({"event": "record", "checkpoint": {"digest": "one"}})
        callouts({"event": "checkpoint", "state": "done", "run": "a", "path": "last.npz"})
    assert marker.exists() is ran
    assert any(words in text for text in notes_of)
    last = held().last("a")
    assert last is not None
    assert (last["digest"] == "one") is all(answers)  # else the next watch calls again


def test_a_file_that_is_overwritten_before_its_turn_is_not_handed_to_the_command(place: Path) -> None:
    save(place / "run" / "last.npz", trained(0.9))
    (place / "run" / "DONE").touch()
    spoil = place / "spoil.py"
    save(place / "other.npz", trained(0.1))
    spoil.write_text(f"import shutil; shutil.copy({str(place / 'other.npz')!r}, {str(place / 'run' / 'last.npz')!r})")
    words = ["--metric", "cross_entropy", "--on-best", shlex.join([sys.executable, str(spoil)])]
    ended = watched(place, *words)
    assert "overwritten meanwhile" in ended.stderr
