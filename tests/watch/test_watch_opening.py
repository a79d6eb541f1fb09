"""An evaluator that is killed while it opens the evaluation: the watch goes on, and says whose fault it is not."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests._material import ENVIRONMENT as ENV
from tests._material import MILEPOST, checkpoints, import_path, lines_of

ROOT = Path(__file__).parents[2]
EVALUATION = """
import os, time
number = len(os.listdir(os.environ["TEST_MARKS"]))
open(os.path.join(os.environ["TEST_MARKS"], f"{number}-{os.getpid()}"), "w").close()
while number < int(os.environ["TEST_HANGS"]):
    time.sleep(0.01)  # until it is killed
from tests._material import evaluation_of
evaluation = evaluation_of(300)
"""


class Opening:
    """A watch whose evaluators, as many as `hangs`, wait to be killed while they open."""

    def __init__(self, place: Path, hangs: int) -> None:
        self.marks = place / "marks"
        self.marks.mkdir()
        folder = checkpoints(place / "run", 1, 2)
        (folder / "DONE").touch()
        file = place / "ev.py"
        file.write_text(EVALUATION)
        words = [*MILEPOST, "watch", file, folder, "--store", place / "store", "--until", "done", "--json"]
        environment = {**ENV, "TEST_MARKS": str(self.marks), "TEST_HANGS": str(hangs), "PYTHONPATH": import_path(ROOT)}
        self.process = subprocess.Popen(
            list(map(str, words)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def kill(self, number: int, sign: int) -> None:
        """Kill the evaluator that opened so many others after the first, once it has."""
        while not (found := [name for name in os.listdir(self.marks) if name.startswith(f"{number}-")]):
            assert self.process.poll() is None, self.process.communicate()
        os.kill(int(found[0].partition("-")[2]), sign)


@contextmanager
def opening(place: Path, hangs: int) -> Iterator[Opening]:
    world = Opening(place, hangs)
    with world.process:
        try:
            yield world
        finally:
            world.process.kill()


def test_it_is_opened_again(tmp_path: Path) -> None:
    with opening(tmp_path, hangs=1) as world:
        world.kill(0, signal.SIGKILL)
        out, err = world.process.communicate(timeout=120)
    assert world.process.returncode == 0, err
    assert lines_of(out)[-1]["evaluated"] == 2
    assert "cannot be used" not in err
    assert len(list(world.marks.iterdir())) == 2
