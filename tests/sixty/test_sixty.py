"""A folder of sixty files: twenty good ones give twenty right rows, forty bad ones their class and reason each."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tests._material import ENVIRONMENT, MILEPOST, Events, lines_of
from tests.sixty import bad, good
from tests.sixty.bad import BAD, Bad
from tests.sixty.good import GOOD
from tests.sixty.pieces import EVALUATION, ROWS, examples, right_answers

CONFINED = Path(__file__).with_name("confined.py")
PLANTED = "from pathlib import Path\nPath({marker!r}).touch()\n"

# What an evaluator of the small model takes is mostly torch itself: 250 MB.  The zip bomb alone unpacks to 1,200.
MOST_BYTES = 900 << 20
MOST_BYTES_OF_A_READER = 250 << 20

KINDS = Counter(one.kind for one in BAD)

# What only the model can tell: names, shapes, values, and that just the tensor that it needs cannot be read.
FOR_A_READER = [one for one in BAD if one.kind not in ("mismatch", "nonfinite weights")]
FOR_A_READER = [one for one in FOR_A_READER if one.file not in ("needed.pt", "objects.npz")]

READ_ALL = """
import sys
from milepost.checkpoints.reader import Reader
from milepost.errors import CheckpointError

reader, kinds = Reader(), []
for found in reader.discover(sys.argv[1:-1], None):
    try:
        reader.table(found, sys.argv[-1])
    except CheckpointError as error:
        kinds.append(error.kind)
assert "torch" not in sys.modules
print(len(kinds))
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, what it printed, and the most memory that one process took."""

    code: int
    out: str
    err: str
    peak: int

    @property
    def reported(self) -> Events:
        """The JSON lines."""
        return lines_of(self.out)


@dataclass(frozen=True)
class Folder:
    """The place with the sixty files, what the good ones hold, and what the two runs over it printed."""

    place: Path
    held: dict[str, dict[str, torch.Tensor]]
    first: Ended
    second: Ended

    @property
    def marker(self) -> Path:
        """The file that any executed payload would make."""
        return self.place / "executed"


def confined(place: Path, *words: str) -> Ended:
    """Run a command in the place, without a superuser's privilege to read what is locked."""
    command = [sys.executable, str(CONFINED), str(place / "peak"), *words]
    ended = subprocess.run(command, cwd=place, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr, int((place / "peak").read_text()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Make the sixty files, and run `milepost run` on them twice."""
    place = tmp_path_factory.mktemp("sixty")
    (place / "runs").mkdir()
    marker = place / "executed"
    held = good.make(place / "runs", marker)
    bad.make(place / "runs", marker)
    for where in (place, place / "runs"):
        (where / "planted.py").write_text(PLANTED.format(marker=str(marker)))
    inputs, labels = examples()
    np.savez(place / "test.npz", inputs=inputs, labels=labels)
    (place / "ev.py").write_text(EVALUATION)
    # The link leads out of the folder: it is followed because it is named.
    run = (*MILEPOST, "run", "ev.py", "runs", "runs/last.pt", "--store", "store", "--engine", "local")
    return Folder(place, held, confined(place, *run, "--json"), confined(place, *run))


def test_the_folder_holds_twenty_good_and_forty_bad_files(folder: Folder) -> None:
    names = {one.file for one in GOOD} | {one.file for one in BAD}
    assert (len(GOOD), len(BAD), len(names)) == (20, 40, 60)
    assert names == {path.name for path in (folder.place / "runs").iterdir()} - {"planted.py"}
    assert len(KINDS) == 8


def test_both_runs_exit_3_and_count_every_file(folder: Folder) -> None:
    assert (folder.first.code, folder.second.code) == (3, 3), folder.first.err
    assert folder.first.reported.done == (20, 0, 40)
    assert "evaluated 0, skipped 20, failed 40" in folder.second.err
    assert "Traceback" not in folder.first.err + folder.second.err


@pytest.mark.parametrize("file", [one.file for one in GOOD])
def test_a_good_file_gives_the_right_row(file: str, folder: Folder) -> None:
    path = str(folder.place / "runs" / file)
    found = [item for item in folder.first.reported.of("record") if item["checkpoint"]["path"] == path]
    (exact,) = [item for item in found if item["estimator"] == "exact"]
    right = right_answers(folder.held[file])
    assert (exact["numerator"], exact["n"], exact["status"]) == (right, ROWS, "ok")
    assert exact["value"] == right / ROWS


@pytest.mark.parametrize("one", BAD, ids=[one.file for one in BAD])
def test_a_bad_file_is_a_row_of_its_class_that_says_why(one: Bad, folder: Folder) -> None:
    path = str(folder.place / "runs" / one.file)
    (row,) = [item for item in folder.first.reported.of("failure") if item["path"] == path]
    assert row["class"] == one.kind, row["message"]
    rest = row["message"]
    for piece in one.says:
        assert piece in rest, row["message"]
        rest = rest.partition(piece)[2]
    assert "\n" not in row["message"]
    assert str(folder.place / "runs" / one.file) not in row["message"]  # the row has a path of its own


def test_nothing_of_a_file_was_executed_and_nothing_imported(folder: Folder) -> None:
    assert not folder.marker.exists()
    assert {path.name for path in folder.place.iterdir()} == {
        *("elsewhere", "ev.py", "peak", "planted.py", "runs", "store", "test.npz")
    }
    # The traps are live: torch runs one as soon as it is asked to load it as torch used to.
    torch.load(folder.place / "runs" / "trap-beside.pt", weights_only=False)
    assert folder.marker.exists()
    folder.marker.unlink()


def test_no_file_makes_a_process_large(folder: Folder, tmp_path: Path) -> None:
    assert max(folder.first.peak, folder.second.peak) < MOST_BYTES
    alone = confined(folder.place, sys.executable, "-c", READ_ALL, "runs", "runs/last.pt", str(tmp_path))
    assert int(alone.out) == len(FOR_A_READER), alone.err
    assert not folder.marker.exists()
    assert alone.peak < MOST_BYTES_OF_A_READER


def test_the_table_shows_what_is_right_and_what_failed(folder: Folder) -> None:
    lines = folder.second.out.splitlines()
    assert sum(line.endswith("  ok") for line in lines) == 20
    for kind, count in KINDS.items():
        assert sum(f"  {kind}: " in line for line in lines) == count, kind


def test_the_second_run_reads_only_what_may_have_changed(folder: Folder) -> None:
    listed = subprocess.run(
        [*MILEPOST, "failures", "--store", "store", "--json"],
        cwd=folder.place,
        capture_output=True,
        text=True,
        check=True,
    )
    attempts = {
        os.path.basename(item["path"]): item["attempts"] for item in map(json.loads, listed.stdout.splitlines())
    }
    assert attempts.keys() == {one.file for one in BAD}
    again = {file for file, count in attempts.items() if count == 2}
    assert again == {"half.pt.pt", "short.npz", "short.pth", "short.safetensors"}
    assert {count for file, count in attempts.items() if file not in again} == {1}
