"""The command line over the real thing: exit codes, JSON lines, the same records by every verb."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import checkpoints, command, evaluation_of, go, lines_of, save, weights_of

EVALUATION = """
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import CalibrationError, Confusion, CrossEntropy, TopK
from milepost.tasks import Classification

print("printed while it is imported")
rng = np.random.default_rng(0)


def predict(weights, x):
    print("printed by the model")
    return x @ weights["w"] + weights["b"]


evaluation = Evaluation(
    model=FunctionModel(predict),
    data={"test": Arrays(rng.normal(size=(700, 8)).astype(np.float32), rng.integers(0, 10, 700))},
    task=Classification(outputs="logits"),
    metrics=[TopK(1), TopK(5), CrossEntropy(), CalibrationError(bins=15), Confusion()],
    batch_size=64,
)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an evaluation file, checkpoints of which three names are one content, two bad files, and a run."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "ev.py").write_text(EVALUATION)
    runs = checkpoints(folder / "lenet", 100, 900)
    for name in ("best", "last"):
        shutil.copy(runs / "step-900.npz", runs / f"{name}.npz")
    (runs / "bare.pt").write_bytes(pickle.dumps({"w": [1.0]}))
    (runs / "noise.pt").write_bytes(np.random.default_rng(0).bytes(4096))
    ended = command("run", "ev.py", "lenet", "--json", cwd=folder)
    assert ended.returncode == 3, ended.stderr
    (folder / "printed.jsonl").write_text(ended.stdout)
    (folder / "told.txt").write_text(ended.stderr)
    return folder


def test_run_goes_on_after_bad_files_and_ends_with_the_done_line(place: Path) -> None:
    events = lines_of((place / "printed.jsonl").read_text())
    assert events[-1] == {"event": "done", "evaluated": 2, "skipped": 2, "failed": 2}
    assert {name: text.split(":")[0] for name, text in events.failures.items()} == {
        "bare.pt": "unsafe",
        "noise.pt": "corrupt",
    }
    assert {item["event"] for item in events} == {"record", "failure", "done"}
    assert {record["checkpoint"]["step"] for record in events.of("record")} == {100, 900}
    # What the user's code prints is not on standard output.
    assert "printed by the model" in (place / "told.txt").read_text()


def test_a_record_has_every_field(place: Path) -> None:
    events = lines_of((place / "printed.jsonl").read_text())
    for record in events.of("record"):
        assert set(record) >= {
            "event", "run", "checkpoint", "data", "slice", "metric", "estimator", "value", "numerator", "denominator",
            "n", "intervals", "tied", "nonfinite", "status",
        }  # fmt: skip
        assert ("batch_size" in record) == (record["estimator"] == "batch_mean")
        assert set(record["checkpoint"]) == {"path", "step", "digest", "variant"}
        assert (record["data"], record["slice"], record["n"], record["status"]) == ("test", "all", 700, "ok")
    (top1,) = [
        item
        for item in events.of("record")
        if (item["metric"], item["estimator"], item["checkpoint"]["step"]) == ("top1", "exact", 900)
    ]
    assert top1["value"] == top1["numerator"] / top1["denominator"]
    (interval,) = top1["intervals"]
    assert set(interval) == {"low", "high", "level", "method", "kind"}
    assert interval["low"] < top1["value"] < interval["high"]
    assert (interval["method"], interval["kind"], interval["level"]) == ("wilson", "population", 0.95)


def records_of(text: str) -> dict[str, dict[str, Any]]:
    found = {}
    for item in lines_of(text).of("record"):
        key = f"{item['checkpoint']['digest']} {item['metric']} {item['estimator']} {item.get('batch_size')}"
        assert key not in found, f"{key} is printed twice"
        found[key] = item
    return found


def test_run_ls_and_show_print_the_same_records(place: Path) -> None:
    by_run = records_of((place / "printed.jsonl").read_text())
    by_ls = records_of(command("ls", "--json", cwd=place).stdout)
    assert by_ls.keys() == by_run.keys()
    digest = next(item["checkpoint"]["digest"] for item in by_run.values() if item["checkpoint"]["step"] == 900)
    by_show = records_of(command("show", "900", "--json", cwd=place).stdout)
    assert by_show == {key: item for key, item in by_ls.items() if key.startswith(digest)}
    also = {key: item.pop("also") for key, item in by_ls.items()}  # a run does not know yet which names follow
    assert by_ls == by_run
    names = {key: sorted(other["name"] for other in others) for key, others in also.items()}
    assert all(found == (["best", "last"] if key.startswith(digest) else []) for key, found in names.items())


def test_three_names_are_shown(place: Path) -> None:
    shown = command("show", "900", cwd=place)
    assert shown.returncode == 0, shown.stderr
    for name in ("step-900", "best", "last"):
        assert name in shown.stdout
        assert command("show", name, "--json", cwd=place).stdout == command("show", "900", "--json", cwd=place).stdout
    listed = command("ls", cwd=place).stdout.splitlines()
    assert sum("best" in line for line in listed) == 1
    assert any("unsafe" in line and "bare" in line for line in listed)
    assert any("corrupt" in line and "noise" in line for line in listed)


def test_a_second_run_does_nothing_and_still_reports_the_failures(place: Path) -> None:
    ended = command("run", "ev.py", "lenet", "--json", cwd=place)
    assert ended.returncode == 3
    events = lines_of(ended.stdout)
    assert events.done == (0, 4, 2)
    assert not events.of("record")
    good = command("run", "ev.py", "lenet", "--match", "step-*", "--json", cwd=place)
    assert (good.returncode, lines_of(good.stdout).done) == (0, (0, 2, 0))


def test_plan_says_why(place: Path) -> None:
    ended = command("plan", "ev.py", "lenet", "--json", cwd=place)
    assert ended.returncode == 0
    rows = [row for row in lines_of(ended.stdout) if row["event"] == "plan"]
    actions = {row["name"]: (row["action"], row["reason"].split(":")[0]) for row in rows}
    assert actions["bare"] == ("failed", "unsafe")
    assert actions["noise"] == ("failed", "corrupt")
    assert {actions[name][0] for name in ("step-100", "step-900", "best", "last")} == {"skip"}


def test_show_asks_for_batch_means_without_model_or_checkpoints(place: Path, tmp_path: Path) -> None:
    store = tmp_path / "copy"
    shutil.copytree(place / "milepost-store", store)
    ended = command("show", "100", "--batch-size", "100", "--json", "--store", store, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    sizes = {item.get("batch_size") for item in lines_of(ended.stdout).of("record")}
    assert sizes == {None, 64, 100}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "ev.py", "empty"], "no checkpoints in empty: looked for files in one of the formats "),
        (["run", "ev.py", "nowhere"], "nowhere: no such file or folder"),
        (["run", "ev.py", "lenet", "--data", "other"], "no such data set; it has: test"),
        (["run", "ev.py:other", "lenet"], "ev.py defines no variable `other`"),
        (["run", "broken.py", "lenet"], "ZeroDivisionError"),
        (["run", "ev.py", "lenet", "--device", "cuda"], "runs on NumPy, on the cpu"),
        (["run", "ev.py", "lenet", "--engine", "warp"], "unknown engine 'warp'; available: inprocess, local"),
        (["run", "ev.py", "lenet", "--store", "lenet"], "lenet"),
        (["show", "12345"], "no checkpoint is at '12345'"),
    ],
)
def test_usage_errors_exit_2_with_one_clear_message(words: list[str], message: str, place: Path) -> None:
    (place / "empty").mkdir(exist_ok=True)
    (place / "broken.py").write_text("x = 1 / 0\n")
    ended = command(*words, cwd=place)
    assert ended.returncode == 2, ended.stderr
    assert message in ended.stderr
    assert ended.stderr.count("milepost: error: ") == 1
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_a_data_error_exits_2(tmp_path: Path) -> None:
    checkpoints(tmp_path / "lenet", 100)
    (tmp_path / "ev.py").write_text(EVALUATION.replace("rng.integers(0, 10, 700)", "rng.integers(5, 15, 700)"))
    ended = command("run", "ev.py", "lenet", cwd=tmp_path)
    assert ended.returncode == 2
    assert "is no class of a model with 10 outputs" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_limit_then_all_by_command(tmp_path: Path) -> None:
    checkpoints(tmp_path / "lenet", 100)
    (tmp_path / "ev.py").write_text(EVALUATION)
    part = command("run", "ev.py", "lenet", "--limit", "100", "--json", cwd=tmp_path)
    assert {item["status"] for item in lines_of(part.stdout).of("record")} == {"partial 100/700"}
    whole = command("run", "ev.py", "lenet", "--json", cwd=tmp_path)
    assert {item["status"] for item in lines_of(whole.stdout).of("record")} == {"ok"}
    assert "100 of 700 rows are there" in whole.stderr
    # One record per content, data, slice, metric and estimator: the largest coverage.
    listed = lines_of(command("ls", "--json", cwd=tmp_path).stdout).of("record")
    assert {item["n"] for item in listed} == {700}
    again = command("run", "ev.py", "lenet", "--again", "--json", cwd=tmp_path)
    assert lines_of(again.stdout).done == (1, 0, 0)
    assert len(lines_of(command("ls", "--json", cwd=tmp_path).stdout).of("record")) == len(listed)


def test_ambiguous_addresses_list_the_candidates(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        save(tmp_path / "runs" / name / "step-900.npz", weights_of(seed))
    (tmp_path / "ev.py").write_text(EVALUATION)
    assert command("run", "ev.py", "runs", cwd=tmp_path).returncode == 0
    ended = command("show", "900", cwd=tmp_path)
    assert ended.returncode == 2
    assert "'900' fits 2 checkpoints" in ended.stderr
    assert command("show", "a:900", cwd=tmp_path).returncode == 0


def test_inspect_takes_what_the_store_knows_a_checkpoint_by(tmp_path: Path) -> None:
    folder, store = checkpoints(tmp_path / "lenet", 1, 2), tmp_path / "milepost-store"
    save(folder / "last.npz", weights_of(2))
    go(evaluation_of(100), folder, store=store)
    for address, file in (("1", "step-1"), ("step-2", "step-2"), ("last", "last"), ("lenet:1", "step-1")):
        ended = command("inspect", address, "--json", cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert lines_of(ended.stdout)[0]["path"] == str(folder / f"{file}.npz")
        assert f"milepost: {address} is {folder}/{file}.npz" in ended.stderr
    (folder / "step-2.npz").unlink()
    assert lines_of(command("inspect", "2", "--json", cwd=tmp_path).stdout)[0]["path"] == str(folder / "last.npz")
    (folder / "last.npz").unlink()
    gone = command("inspect", "2", cwd=tmp_path)
    assert (gone.returncode, gone.stdout) == (2, "")
    assert "gone; `milepost show` has what is on record of it" in gone.stderr
    absent = command("inspect", "zzz", cwd=tmp_path)
    assert "zzz: no such file or folder; in the store milepost-store: no checkpoint is at 'zzz'" in absent.stderr
    assert "in the store" not in command("inspect", "zzz", cwd=folder).stderr


def test_inspect_never_executes(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "executed",))

    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    ended = command("inspect", "evil.pt", cwd=tmp_path)
    assert ended.returncode == 3
    assert "unsafe" in ended.stderr
    assert not (tmp_path / "executed").exists()
    checkpoints(tmp_path, 7)
    good = command("inspect", "step-7.npz", "--json", cwd=tmp_path)
    assert json.loads(good.stdout)["step"] == 7


def test_names_do_not_steer_a_terminal(tmp_path: Path) -> None:
    hostile, runs, store = "step-1\x1b[2J\x07.npz", tmp_path / "runs", tmp_path / "store"
    runs.mkdir()
    save(runs / hostile, weights_of(1))
    (runs / "step-2\x1b]0;owned\x07.npz").write_bytes(b"PK\x03\x04 no zip")
    (tmp_path / "ev.py").write_text(EVALUATION)
    verbs = [["run", "ev.py", "runs"], ["ls"], ["failures"], ["show", "1"], ["plan", "ev.py", "runs"]]
    ended = [command(*verb, "--store", store, cwd=tmp_path) for verb in verbs]
    ended.append(command("inspect", runs / hostile, cwd=tmp_path))
    printed = "".join(item.stdout + item.stderr for item in ended)
    assert [item.returncode for item in ended] == [3, 0, 0, 0, 0, 0], printed
    assert r"step-1\x1b[2J\x07" in printed
    assert {sign for sign in printed if not sign.isprintable()} == {"\n"}
