"""Mutants of every format: read, or rows; never a hang, much memory, a traceback, or other weights unnoticed.

`benchmarks/fuzz.py` reads as many more as one likes, from the same seed.
"""

import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests._material import ENVIRONMENT, import_path
from tests.checkpoints.fuzz.judge import Judge, Reading, Verdict, verdict
from tests.checkpoints.fuzz.mutants import found, kept, mutant
from tests.checkpoints.fuzz.specimens import every

ROOT = Path(__file__).resolve().parents[2]
COUNT = 400
LIMIT = 50_000
"""Bytes of the largest file of a checkpoint of which mutants are made here."""


def test_mutants_of_every_format(tmp_path: Path) -> None:
    small = [one for one in every() if max(map(len, one.files.values())) < LIMIT]
    forms: Counter[str] = Counter()
    with Judge.started([one.files for one in small]) as judge:
        whole = {id(one): judge.read(one.files) for one in small}
        data = {id(one): whole[id(one)].data(judge.folder) for one in small}
        for number in range(COUNT):
            made = mutant(f"1/{number}", small, data)
            given = verdict(whole[id(made.specimen)], judge.read(made.files), sealed=made.sealed)
            forms[made.specimen.form] += 1
            if given.bad:
                path = tmp_path / f"{number}.json"
                kept(path, made, asdict(given))
                again = f"python benchmarks/fuzz.py --replay {path}"
                pytest.fail(f"{made.specimen}: {made.what}: {given.outcome}: {given.detail}\n{again}")
    assert min(forms[one.form] for one in small) > COUNT // 50


def test_whole_checkpoints_are_read() -> None:
    refused = {"npy", "other kinds"}
    small = [one for one in every() if max(map(len, one.files.values())) < LIMIT]
    with Judge.started([]) as judge:
        for one in small:
            read = judge.read(one.files)
            assert not read.faults
            assert bool(read.weights()) == (one.form not in refused and one.name != "savedmodel_shard_missing"), one


def test_a_mutant_is_made_again_from_its_seed_and_from_its_file(tmp_path: Path) -> None:
    small = [one for one in every() if one.form == "npz"]
    nowhere: dict[int, dict[str, Any]] = {id(one): {} for one in small}
    made = [mutant(f"1/{number}", small, nowhere) for number in range(20)]
    assert [one.files for one in made] == [mutant(one.seed, small, nowhere).files for one in made]
    kept(tmp_path / "a.json", made[7], {})
    assert found(tmp_path / "a.json") == made[7]


W, OTHER = ["float32", [2], "aa", []], ["float32", [2], "bb", []]


def reading(held: Any = None, *, checksum: bool = True, **more: Any) -> Reading:
    rows = [{"path": "/m/a", "holds": {"w": held}, "checksum": checksum}] if held else []
    return Reading(**{"rows": rows, "faults": [], "ended": "", "cpu": 0.1, "peak": 5, **more})


@pytest.mark.parametrize(
    ("read", "sealed", "outcome"),
    [
        (reading(W), False, "same"),
        (reading(OTHER), False, "changed"),
        (reading(OTHER, checksum=False), False, "no checksum"),
        (reading(OTHER), True, "made again"),
        (reading(), False, "nothing"),
        (reading(rows=[{"path": "/m/a", "refused": ["torn", "/m/a: cut"]}]), False, "row"),
        (reading(rows=[{"path": "/m/a", "refused": ["odd", "/m/a: odd"]}]), False, "traceback"),
        (reading(rows=[{"path": "/m/a", "refused": ["out of memory", "/m/a"]}]), False, "memory"),
        (reading(W, faults=["Traceback"]), False, "traceback"),
        (reading(W, peak=700 << 10), False, "memory"),
        (reading(ended="SIGXCPU"), False, "hang"),
        (reading(ended="SIGALRM"), False, "hang"),
        (reading(ended="SIGSEGV"), False, "killed"),
    ],
)
def test_what_is_bad(read: Reading, sealed: bool, outcome: str) -> None:
    given = verdict(reading(W), read, sealed=sealed)
    assert given.outcome == outcome
    assert given.bad == (outcome in {"changed", "hang", "memory", "traceback", "killed"})
    assert Verdict(outcome).bad == given.bad


def test_an_index_that_lists_less_loses_tensors_and_changes_none() -> None:
    def of(**held: Any) -> Reading:
        return reading(rows=[{"path": "/m/a.index.json", "holds": held, "checksum": True}])

    assert verdict(of(a=W, b=W), of(a=W), sealed=False).outcome == "fewer"
    assert verdict(of(a=W, b=W), of(a=OTHER), sealed=False).outcome == "changed"
    assert verdict(of(a=W), of(a=W, b=W), sealed=False).outcome == "changed"


def test_the_child_is_ended_at_its_limits_and_says_so() -> None:
    script = """
import os
from tests.checkpoints.fuzz import child

def spin(*_):
    child._allow_seconds()
    while True:
        pass

def grow(*_):
    held = bytearray(800 << 20)
    return {"rows": [], "faults": []}

usual = child.CPU_SECONDS
for child.reading in (spin, grow, lambda *_: os._exit(3)):
    child.CPU_SECONDS = 1 if child.reading is spin else usual  # to fill memory takes a slow machine a second
    worker = child._forked()
    made, after = child._asked(worker, '{"folder": "x", "spool": "y"}\\n')
    print(made["ended"], made["peak"] > 790 << 10, after is worker)
"""
    environment = {**ENVIRONMENT, "PYTHONPATH": import_path(ROOT, ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "SIGXCPU False False",
        " True True",
        "exit 3 False False",
    ]
