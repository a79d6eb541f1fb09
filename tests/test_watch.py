"""The watch beside real trainers: nothing that was claimed is lost or done twice, whatever happens to either of them.

No moment is chosen by the clock: the trainer waits for what it is told to wait for, and a watcher is killed when it has
come so far.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import ENVIRONMENT, MILEPOST, Told, evaluation_of, linear, lines_of, request_of, save, weights_of

from milepost.endings import Ending
from milepost.run import run
from milepost.store.store import Store
from milepost.watch import Terms, watch

DONE = Ending(done=True)
FAST = Terms(DONE, interval=0.05)
ROWS = 300

EVALUATION = """
import os, sys, time
sys.path.insert(0, os.environ["TEST_ROOT"])
import numpy as np
from tests._material import evaluation_of


def predict(weights, x):
    with open(os.environ["TEST_LOG"], "a") as log:
        log.write(f"{os.getpid()} {int(weights['mark'])}\\n")
    time.sleep(0.01)
    return x @ weights["w"] + weights["b"]


evaluation = evaluation_of(300, predict, batch_size=300)
"""

TRAINER = """
import os, sys, time
import numpy as np

folder, steps, keep, gate, how = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
back = int(sys.argv[6])  # after this step it crashes, and goes on from half of it with another seed
os.makedirs(folder, exist_ok=True)


def made(step):
    rng = np.random.default_rng([step, life])
    w, b = rng.normal(size=(8, 10)).astype("f4"), rng.normal(size=10).astype("f4")
    return {"w": w, "b": b, "mark": np.int64(step + 1000 * life)}


def whole(step, name):
    with open(f"{folder}/.tmp", "wb") as file:
        np.savez(file, **made(step))
    os.replace(f"{folder}/.tmp", f"{folder}/{name}")


def slow(step, name):
    whole(step, ".whole")
    data = open(f"{folder}/.whole", "rb").read()
    with open(f"{folder}/{name}", "wb", buffering=0) as file:
        for at in range(0, len(data), 200):
            file.write(data[at : at + 200])
            time.sleep(0.002)


life, written, step = 0, [], 0
while step < steps:
    step += 1
    (slow if how == "slow" else whole)(step, f"step-{step}.npz")
    whole(step, "last.npz")
    written = [old for old in written if old != step] + [step]
    for old in written[:-keep]:
        os.unlink(f"{folder}/step-{old}.npz")
    written = written[-keep:]
    while not os.path.exists(f"{gate}/{life}-{step}"):
        time.sleep(0.002)
    if step == back:
        life, step, back = 1, step // 2, 0
open(f"{folder}/DONE", "w").close()
"""


def go(folder: Path, *runs: Path, terms: Terms = FAST, **options: Any) -> Told:
    """Watch in this process, and return what was told."""
    told = Told()
    chosen = options.pop("evaluation", evaluation_of(ROWS))
    watch(request_of(chosen, *runs, store=folder / "store", **options), terms, told.append)
    return told


def states(told: Told, name: str) -> list[str]:
    """Return the states that a checkpoint went through."""
    return [item["state"] for item in told.of("checkpoint") if Path(item["path"]).name == name]


def counts(told: Told) -> dict[str, int]:
    """Return the numbers of the last line that are not zero."""
    assert told[-1]["event"] == "done"
    return {name: number for name, number in told[-1].items() if name != "event" and number}


def made(step: int, **more: Any) -> dict[str, Any]:
    return {**weights_of(step), **more}


def values(store: Path) -> dict[int, list[tuple[str, Any, int]]]:
    """Return the exact values that a store has by step."""
    found: dict[int, list[tuple[str, Any, int]]] = {}
    with Store.open(store).index() as index:
        for line in index.lines():
            item = json.loads(line)
            if item["estimator"] == "exact" and item["checkpoint"]["step"] is not None:
                found.setdefault(item["checkpoint"]["step"], []).append((item["metric"], item["value"], item["n"]))
    return {step: sorted(each) for step, each in found.items()}


def wait_for(reached: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 20) -> bool:
    """Look until something is reached; False where the process ended before."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if reached():
            return True
        if process.poll() is not None:
            return reached()
        time.sleep(0.005)
    raise AssertionError("nothing happened")


# ------------------------------------------------------------------------------------------------------------ endings


def test_everything_that_is_there_goes_through_the_states(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in (1, 2, 3):
        save(run / f"step-{step}.npz", made(step))
    whole = (run / "step-1.npz").read_bytes()
    (run / "step-9.npz").write_bytes(whole[: len(whole) // 2])
    (run / "log.txt").write_text("no checkpoint")
    (run / "DONE").touch()
    told = go(tmp_path, run)
    assert counts(told) == {"evaluated": 3, "failed": 1}
    for step in (1, 2, 3):
        assert states(told, f"step-{step}.npz") == ["seen", "complete", "claimed", "done"]
    assert states(told, "step-9.npz") == ["seen", "writing", "failed"]
    assert told.failures["step-9.npz"].startswith("torn: the zip archive ends after")
    assert states(told, "log.txt") == []
    assert not (tmp_path / "store" / "pins").exists()
    again = go(tmp_path, run)
    assert counts(again) == {"skipped": 3, "failed": 1}
    assert again.of("record") == []


def test_what_comes_later_is_evaluated_and_done_ends_the_watch(tmp_path: Path) -> None:
    runs = [tmp_path / "a", tmp_path / "b"]  # neither is there yet
    told = Told()

    def listen(event: dict[str, Any]) -> None:
        told.append(event)
        if event["event"] == "start":
            runs[0].mkdir()
            save(runs[0] / "step-1.npz", made(1))
        if event.get("state") == "done" and event["name"] == "step-1" and event["run"] == "a":
            (runs[1] / "deep").mkdir(parents=True)
            save(runs[1] / "deep" / "step-2.npz", made(2))
            (runs[0] / "DONE").touch()  # one run's end is not the other's
        if event.get("state") == "done" and event["name"] == "step-2":
            save(runs[0] / "step-3.npz", made(3))
            (runs[1] / "DONE").touch()

    watch(request_of(evaluation_of(ROWS), *runs, store=tmp_path / "store"), FAST, listen)
    assert counts(told) == {"evaluated": 3}
    assert [item["run"] for item in told.of("checkpoint") if item["state"] == "done"] == ["a", "deep", "a"]


def test_a_step_ends_the_watch_and_what_is_left_is_evaluated_in_order(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in (100, 200, 300, 400, 500):
        save(run / f"step-{step}.npz", made(step))

    def taken(order: str) -> list[int]:
        terms = Terms(Ending(max_steps=500), order, interval=0.05)
        told = Told()
        request = request_of(evaluation_of(ROWS), run, store=tmp_path / order, residents=1)
        watch(request, terms, told.append)
        return [item["step"] for item in told.of("checkpoint") if item["state"] == "done"]

    assert taken("oldest") == [100, 200, 300, 400, 500]
    assert taken("latest") == [500, 400, 300, 200, 100]
    assert taken("bisect") == [500, 100, 300, 400, 200]


def test_thinning_keeps_the_first_of_so_many_steps_also_after_a_restart(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    terms = Terms(DONE, every=100, interval=0.05)
    for step in (10, 90, 130, 160):
        save(run / f"step-{step}.npz", made(step))
    save(run / "best.npz", made(0))
    (run / "DONE").touch()
    assert counts(go(tmp_path, run, terms=terms)) == {"evaluated": 3, "thinned": 2}
    (run / "step-10.npz").unlink()
    save(run / "step-210.npz", made(210))
    told = go(tmp_path, run, terms=terms)
    assert counts(told) == {"evaluated": 1, "skipped": 2, "thinned": 2}
    assert states(told, "step-90.npz") == ["seen", "complete", "thinned"]
    assert sorted(values(tmp_path / "store")) == [10, 130, 210]


def test_a_file_that_grows_is_waited_for_and_one_that_stands_still_is_torn(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save(tmp_path / "whole.npz", made(1))
    whole = (tmp_path / "whole.npz").read_bytes()
    (run / "step-1.npz").write_bytes(whole[:10])  # not even its format is known
    (run / "step-2.npz").write_bytes(whole[:-1])
    told = Told()
    pieces = [whole[at : at + 64] for at in range(10, len(whole), 64)]
    writer = threading.Thread(target=grow, args=(run / "step-1.npz", pieces))

    def listen(event: dict[str, Any]) -> None:
        told.append(event)
        if event.get("state") == "writing" and event["step"] == 1 and not writer.is_alive():
            writer.start()

    terms = Terms(DONE, interval=0.02)
    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), terms, listen)
    writer.join()
    assert counts(told) == {"evaluated": 1, "failed": 1}
    assert states(told, "step-1.npz") == ["seen", "writing", "complete", "claimed", "done"]
    assert states(told, "step-2.npz") == ["seen", "writing", "failed"]
    assert list(told.failures) == ["step-2.npz"]


def test_an_incomplete_file_is_given_up_after_its_time_though_the_watch_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save(tmp_path / "whole.npz", made(1))
    (run / "step-1.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-1])
    hour_ago = time.time() - 3600
    os.utime(run / "step-1.npz", (hour_ago, hour_ago))
    told = Told()

    def listen(event: dict[str, Any]) -> None:
        told.append(event)
        if event.get("state") == "failed":
            os.replace(tmp_path / "whole.npz", run / "step-1.npz")  # its writer comes back
        if event.get("state") == "done":
            (run / "DONE").touch()

    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), FAST, listen)
    assert states(told, "step-1.npz") == ["seen", "writing", "failed", "seen", "complete", "claimed", "done"]
    assert counts(told) == {"evaluated": 1, "failed": 1}
    with Store.open(tmp_path / "store").index() as index:
        assert [row["failure"] for row in index.checkpoints()] == [None]


def grow(path: Path, pieces: list[bytes]) -> None:
    """Write a file piece by piece, then say that training is done."""
    for piece in pieces:
        with open(path, "ab") as file:
            file.write(piece)
        time.sleep(0.01)
    (path.parent / "DONE").touch()


# ----------------------------------------------------------------------------------------- claimed against deletion


def deleting(run: Path, told: Told, *names: str) -> Callable[[dict[str, Any]], None]:
    """Return a listener that deletes checkpoints as soon as they are seen."""

    def listen(event: dict[str, Any]) -> None:
        told.append(event)
        if event.get("state") == "complete" and Path(event["path"]).name in names:
            (run / Path(event["path"]).name).unlink()

    return listen


def test_what_is_deleted_before_its_turn_is_evaluated_from_its_pin(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in range(1, 7):
        save(run / f"step-{step}.npz", made(step))
    (run / "DONE").touch()
    told = Told()
    names = [f"step-{step}.npz" for step in (1, 2, 5, 6)]
    request = request_of(evaluation_of(ROWS), run, store=tmp_path / "store", residents=2)
    watch(request, FAST, deleting(run, told, *names))
    assert counts(told) == {"evaluated": 6}
    assert sorted(os.listdir(run)) == ["DONE", "step-3.npz", "step-4.npz"]
    assert {str(run)} == {os.path.dirname(item["checkpoint"]["path"]) for item in told.of("record")}
    assert not (tmp_path / "store" / "pins").exists()


def test_without_links_it_is_said_once_and_what_is_deleted_has_vanished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in range(1, 7):
        save(run / f"step-{step}.npz", made(step))
    (run / "DONE").touch()
    real = os.link

    def link(source: Any, target: Any, **options: Any) -> None:
        if str(run) in str(source):
            raise OSError(18, "Invalid cross-device link")
        real(source, target, **options)

    monkeypatch.setattr(os, "link", link)
    told = Told()
    request = request_of(evaluation_of(ROWS), run, store=tmp_path / "store", residents=2)
    watch(request, FAST, deleting(run, told, "step-5.npz", "step-6.npz"))
    assert counts(told) == {"evaluated": 4, "vanished": 2}
    assert told.notes.count("cannot be pinned") == 1
    assert told.failures["step-5.npz"].startswith("vanished: deleted before it could be evaluated")
    assert "raise keep-last (max_to_keep)" in told.failures["step-6.npz"]
    assert states(told, "step-5.npz") == ["seen", "complete", "vanished"]
    with Store.open(tmp_path / "store").index() as index:
        failed = {row["name"]: row["failure"]["kind"] for row in index.checkpoints() if row["failure"]}
    assert failed == {"step-5": "vanished", "step-6": "vanished"}


def test_an_overwritten_name_is_evaluated_each_time(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save(run / "last.npz", made(0))
    told = Told()
    step = 0

    def listen(event: dict[str, Any]) -> None:
        nonlocal step
        told.append(event)
        if event.get("state") == "done":
            step += 1
            if step == 5:
                (run / "DONE").touch()
            elif step % 2:
                save(run / "last.npz", made(step))  # in place
            else:
                save(run / ".next.npz", made(step))
                os.replace(run / ".next.npz", run / "last.npz")

    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), FAST, listen)
    assert counts(told) == {"evaluated": 5}
    assert len({item["checkpoint"]["digest"] for item in told.of("record")}) == 5


def test_a_trainer_that_goes_back_in_step_is_followed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in (1, 2, 3):
        save(run / f"step-{step}.npz", made(step))
    told = Told()

    def listen(event: dict[str, Any]) -> None:
        told.append(event)
        if event.get("state") == "done" and event["step"] == 3 and not (run / "DONE").exists():
            for step in (2, 3):  # from another seed: new content under old names
                save(run / f"step-{step}.npz", made(10 + step))
            (run / "DONE").touch()

    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), FAST, listen)
    assert counts(told) == {"evaluated": 5}
    assert states(told, "step-2.npz") == 2 * ["seen", "complete", "claimed", "done"]
    assert states(told, "step-1.npz") == ["seen", "complete", "claimed", "done"]


def test_links_that_lead_out_of_the_folder_are_rows_and_never_pinned_or_read(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    save(other / "step-7.npz", made(7))
    save(run / "step-1.npz", made(1))
    (run / "last.npz").symlink_to("step-1.npz")
    (run / "step-2.npz").symlink_to(other / "step-7.npz")
    (run / "checkpoints").symlink_to(other)
    (run / "notes").symlink_to(other / "step-7.npz")
    (run / "step-3.npz").symlink_to("step-0.npz")  # to nothing
    (run / "step-4").mkdir()
    (run / "step-4" / "saved_model.pb").touch()
    (run / "DONE").touch()
    before = (other / "step-7.npz").stat().st_ctime_ns
    told = go(tmp_path, run)
    assert counts(told) == {"evaluated": 1, "skipped": 1, "failed": 3, "vanished": 1}
    assert sorted(told.failures) == ["checkpoints", "step-2.npz", "step-3.npz", "step-4"]
    for name in ("checkpoints", "step-2.npz"):
        assert "outside of the folders that were named" in told.failures[name]
    assert told.failures["step-3.npz"].startswith("vanished: a symbolic link to step-0.npz, which is not there")
    assert told.failures["step-4"].startswith("program: ")
    assert (other / "step-7.npz").stat().st_ctime_ns == before


def test_a_renamed_temporary_file_is_one_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save(run / "step-1.npz", made(1))
    whole = (run / "step-1.npz").read_bytes()
    (run / "step-2.part").write_bytes(whole[:400])
    told = Told()

    def listen(event: dict[str, Any]) -> None:
        told.append(event)
        if event.get("state") == "done" and event["step"] == 1:
            with open(run / "step-2.part", "ab") as file:
                file.write(whole[400:])
            os.replace(run / "step-2.part", run / "step-2.npz")
            (run / "DONE").touch()

    watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), FAST, listen)
    assert counts(told) == {"evaluated": 1, "skipped": 1}  # of the same content
    assert states(told, "step-2.part")[:2] == ["seen", "writing"]


# ----------------------------------------------------------------------------------------- real processes, killed


class World:
    """A trainer and its watchers, each a process of its own, over one store."""

    def __init__(self, folder: Path, steps: int, how: str = "whole", back: int = 0, keep: int = 5) -> None:
        self.run, self.store, self.gate, self.log = (folder / name for name in ("run", "store", "gate", "log"))
        self.file = folder / "ev.py"
        self.file.write_text(EVALUATION)
        self.log.touch()
        self.gate.mkdir()
        self.killed: set[int] = set()
        self.environment = {**ENVIRONMENT, "TEST_LOG": str(self.log), "TEST_ROOT": str(Path(__file__).parents[1])}
        self.outputs = folder / "outputs"
        self.outputs.mkdir()
        self.processes: list[subprocess.Popen[str]] = []
        words = [self.run, steps, keep, self.gate, how, back]
        self.trainer = self._start([sys.executable, "-c", TRAINER, *map(str, words)])

    def _start(self, words: list[str]) -> subprocess.Popen[str]:
        # Into files: a pipe that nobody reads is full one day, and its writer waits.
        place = self.outputs / str(len(self.processes))
        with open(f"{place}.out", "w") as out, open(f"{place}.err", "w") as said:
            process = subprocess.Popen(words, env=self.environment, stdout=out, stderr=said, text=True)
        self.processes.append(process)
        return process

    def told(self) -> list[Told]:
        """Return what each watcher told, as far as whole lines go."""
        texts = [path.read_text() for path in sorted(self.outputs.glob("*.out"))]
        return [lines_of(text[: text.rfind("\n") + 1]) for text in texts]

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                process.wait()

    def watcher(self, *words: str) -> subprocess.Popen[str]:
        """Start a watcher."""
        named = ["watch", str(self.file), str(self.run), "--store", str(self.store), "--until", "done", "--json"]
        return self._start([*MILEPOST, *named, "--engine", "inprocess", "--poll", "0.02s", *words])

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill a watcher."""
        process.kill()
        self.killed.add(process.pid)
        process.wait()

    def finish(self, process: subprocess.Popen[str]) -> int:
        """Wait for a watcher's end and return its exit code."""
        return process.wait(timeout=60)

    def pinned(self) -> set[int]:
        """Return the steps that are pinned."""
        noted = glob(f"{self.store}/pins/*/@pin.json")
        links = [link for note in noted for link in glob(f"{os.path.dirname(note)}/step-*.npz")]
        return {int(Path(link).stem[5:]) for link in links}

    def complete(self) -> set[int]:
        """Return the steps that the store has values of."""
        return set(values(self.store)) if (self.store / "store.json").exists() else set()

    def marks(self) -> list[tuple[int, int]]:
        """Return the process and the checkpoint's mark of every prediction."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines if line.endswith("\n")]

    def predicted(self) -> set[int]:
        """Return the marks of all that was predicted."""
        return {mark for _, mark in self.marks()}

    def open_gate(self, step: int, life: int = 0) -> None:
        """Let the trainer go on behind a step."""
        (self.gate / f"{life}-{step}").touch()


@pytest.fixture
def world_of(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Return how a world is made; what runs in it ends with the test."""
    worlds = []

    def make(*words: Any, **options: Any) -> World:
        worlds.append(World(tmp_path, *words, **options))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


def test_a_watcher_killed_again_and_again_evaluates_all_that_it_had_claimed_once(
    tmp_path: Path, world_of: Callable[..., World]
) -> None:
    steps, chance = 40, random.Random(4)
    world = world_of(steps)
    process = world.watcher()
    claimed: set[int] = set()
    done: list[tuple[int, set[int]]] = []
    kills = set(chance.sample(range(8, steps), 4))
    blind = set(chance.sample(range(1, steps - 5), 12))  # the trainer does not wait until these are seen
    for step in range(1, steps + 1):
        if step not in blind:
            wait_for(lambda step=step: step in world.pinned() | world.predicted(), process)  # type: ignore[misc]
        claimed |= world.pinned()
        if step in kills:
            world.kill(process)
            claimed |= world.pinned()
            done.append((len(world.marks()), world.complete()))
            for lost in range(step, min(step + 7, steps)):
                world.open_gate(lost)
            blind |= set(range(step, step + 7))
            process = world.watcher()
        world.open_gate(step)
    assert world.finish(process) in (0, 3)
    assert claimed <= world.complete()
    assert len(claimed) >= steps // 3
    for begin, before in done:  # what was whole when a watcher died is never predicted again
        assert not before & {mark for _, mark in world.marks()[begin:]}
    seen = {item["step"] for told in world.told() for item in told.of("checkpoint") if item["step"] is not None}
    vanished = {item["step"] for told in world.told() for item in told.of("failure") if item["class"] == "vanished"}
    assert seen <= world.complete() | vanished
    assert not list(world.store.glob("pins/*"))
    assert_same_as_clean(world, tmp_path)


def assert_same_as_clean(world: World, folder: Path) -> None:
    """Compare with an undisturbed evaluation of the same weights, all of them written anew."""
    clean = folder / "clean"
    clean.mkdir()
    for step in world.complete():
        rng = np.random.default_rng([step, 0])
        w, b = rng.normal(size=(8, 10)).astype("f4"), rng.normal(size=10).astype("f4")
        save(clean / f"step-{step}.npz", {"w": w, "b": b, "mark": np.int64(step)})

    def predict(weights: Any, inputs: Any) -> Any:
        assert weights["mark"] > 0
        return linear(weights, inputs)

    store = folder / "undisturbed"
    told = Told()
    evaluated = run(
        request_of(evaluation_of(ROWS, predict, batch_size=ROWS), clean, store=store), told.append
    ).evaluated
    assert evaluated == len(world.complete())
    assert values(store) == values(world.store)


def test_four_watchers_share_a_folder_and_one_is_killed_now_and_then(world_of: Callable[..., World]) -> None:
    """The trainer writes slowly in place, and starts again from an older step."""
    steps, chance = 16, random.Random(1)
    world = world_of(steps, "slow", back=10)
    watchers = [world.watcher() for _ in range(4)]
    kills = set(chance.sample(range(3, steps), 2))
    order = [*((0, step) for step in range(1, 11)), *((1, step) for step in range(6, steps + 1))]
    for life, step in order:
        mark = step + 1000 * life
        wait_for(lambda mark=mark: mark in world.predicted(), watchers[0])  # type: ignore[misc]
        if step in kills:
            kills.remove(step)
            victim = watchers.pop(chance.randrange(4))
            world.kill(victim)
            watchers.append(world.watcher())
        world.open_gate(step, life)
    assert {world.finish(process) for process in watchers} <= {0, 3}
    # `last` is overwritten all the time: it may be replaced within the very moment in which it was seen.
    failed = {(name, text.partition(":")[0]) for told in world.told() for name, text in told.failures.items()}
    assert failed <= {("last.npz", "vanished")}
    by: dict[int, set[int]] = {}
    for pid, mark in world.marks():
        by.setdefault(mark, set()).add(pid)
    assert set(by) == {step + 1000 * life for life, step in order}
    twice = {mark: pids for mark, pids in by.items() if len(pids - world.killed) > 1}
    assert not twice
    assert len({pid for pids in by.values() for pid in pids}) > 1
    opened = Store.open(world.store)
    assert len(opened.evaluations()) == len(order)
    assert not list(world.store.glob("pins/*"))
    assert not list(world.store.glob("evaluations/*/*/leases/*"))
