"""`gc` on checkpoints that have a folder of their own: the whole folder goes, or nothing of it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests._material import evaluation_of, go, save, weights_of

from milepost.cli import main
from milepost.cli._gc_folder import Folder
from milepost.errors import MilepostError
from milepost.store.store import Store

pytestmark = pytest.mark.usefixtures("nothing_is_forced")
Shown = pytest.CaptureFixture[str]
STEPS = tuple(range(100, 1000, 100))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Make nine folders as a trainer leaves them, and evaluate them."""
    folder = tmp_path / "runs" / "bert"
    for step in STEPS:
        made(folder, step)
    go(evaluation_of(), folder, store=tmp_path / "evals")
    return folder


def made(folder: Path, step: int) -> None:
    own = folder / f"checkpoint-{step}"
    (own / "global_step1").mkdir(parents=True)
    save(own / "model.npz", weights_of(step))
    (own / "optimizer.pt").write_bytes(b"x" * 5000)
    (own / "trainer_state.json").write_text("{}")
    (own / ".hidden").write_text("h")
    (own / "global_step1" / "zero_pp_rank_0_mp_rank_00_optim_states.pt").write_bytes(b"y" * 700)


def gc(folder: Path, capsys: Shown, *words: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Run it; return the lines by name, and the last one."""
    capsys.readouterr()
    few = ("--keep-best", "1", "--keep-last", "1", "--metric", "cross_entropy", "--json")
    code = main(["gc", str(folder), "--store", str(_store(folder)), *few, *words])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == (3 if any(line.get("problem") for line in lines) else 0)
    return {line["name"]: line for line in lines[:-1]}, lines[-1]


def _store(folder: Path) -> Path:
    return next(parent / "evals" for parent in folder.parents if (parent / "evals").exists())


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_whole_folder_goes_and_all_its_bytes_count(run: Path, capsys: Shown) -> None:
    lines, last = gc(run, capsys)
    assert set(lines) == {f"checkpoint-{step}" for step in STEPS}
    assert names(run) == set(lines)
    going = {name for name, line in lines.items() if not line["keep"]}
    assert len(going) >= 4
    assert {name: line["bytes"] for name, line in lines.items()} == {name: size(run / name) for name in lines}
    assert {line["files"] for line in lines.values()} == {5}
    assert {line["path"] for line in lines.values()} == {str(run / name) for name in lines}
    freed = sum(size(run / name) for name in going)
    assert (last["dry_run"], last["bytes"]) == (True, freed)
    _, last = gc(run, capsys, "--delete")
    assert (last["deleted"], last["bytes"]) == (len(going), freed)
    assert names(run) == set(lines) - going
    assert all(size(run / name) > 5700 for name in names(run))
    facts = [json.loads(file.read_text()) for file in (_store(run) / "runs" / "bert" / "deleted").iterdir()]
    assert {fact["path"] for fact in facts} == {str(run / name / "model.npz") for name in going}


def _two_weights(own: Path) -> None:
    save(own / "ema.npz", weights_of(12345))


def _link_from_beside(own: Path) -> None:
    (own.parent / "last").symlink_to(own.name)


def _link_to_the_weights(own: Path) -> None:
    (own.parent / "best.npz").symlink_to(own / "model.npz")


def _links_out(own: Path) -> None:
    os.rename(own / "model.npz", own.parent.parent / "weights.npz")
    (own / "model.npz").symlink_to(own.parent.parent / "weights.npz")


def _a_store(own: Path) -> None:
    Store.create(own / "evals")


def _a_pin(own: Path) -> None:
    pin = own.parent.parent.parent / "evals" / "pins" / "x"
    pin.mkdir(parents=True)
    os.link(own / "trainer_state.json", pin / "trainer_state.json")


def _a_repository(own: Path) -> None:
    (own / ".git").mkdir()
    (own / ".git" / "HEAD").write_text("ref: refs/heads/main\n")


def _a_pipe(own: Path) -> None:
    os.mkfifo(own / "pipe")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_two_weights, "not evaluated yet"),
        (_link_from_beside, "the symbolic link last points to it"),
        (_link_to_the_weights, "the symbolic link best.npz points to it"),
        (_links_out, "a symbolic link"),
        (_a_store, "a store of results lies in it"),
        (_a_pin, "pinned: it waits for its evaluation"),
        (_a_repository, "a repository lies in it"),
        (_a_pipe, "not a file"),
    ],
)
def test_what_keeps_a_folder(change: Callable[[Path], None], why: str, run: Path, capsys: Shown) -> None:
    loser = min(name for name, line in gc(run, capsys)[0].items() if not line["keep"])
    change(run / loser)
    lines, _ = gc(run, capsys, "--delete")
    reasons = [line["reason"] for line in lines.values() if line["path"] == str(run / loser)]
    assert reasons == [why]
    assert (run / loser / "optimizer.pt").exists()
    assert sum(line["deleted"] for line in lines.values()) > 0


def test_two_weights_that_both_lost_go_together(run: Path, capsys: Shown) -> None:
    loser = min(name for name, line in gc(run, capsys)[0].items() if not line["keep"])
    shutil.copy(run / loser / "model.npz", run / loser / "pytorch_model.bin")
    go(evaluation_of(), run, store=_store(run))
    lines, _ = gc(run, capsys, "--delete")
    assert not lines[loser]["keep"]
    assert not (run / loser).exists()


def test_a_folder_in_a_folder_of_its_own_stays_with_it(run: Path, capsys: Shown) -> None:
    loser = min(name for name, line in gc(run, capsys)[0].items() if not line["keep"])
    best = next(name for name, line in gc(run, capsys)[0].items() if line["reason"] == "best 1")
    (run / loser / "step_5").mkdir()
    shutil.copy(run / best / "model.npz", run / loser / "step_5" / "model.npz")
    go(evaluation_of(), run, store=_store(run))
    lines, _ = gc(run, capsys, "--delete")
    (line,) = (line for line in lines.values() if line["path"] == str(run / loser))
    assert line["keep"]
    assert (run / loser / "step_5" / "model.npz").exists()


@pytest.mark.parametrize("how", ["new", "changed", "gone"])
def test_a_folder_that_changes_while_it_is_looked_at_stays(how: str, run: Path) -> None:
    folder = Folder(Store.open(_store(run)), str(run))
    place = folder.places[0]
    own = Path(place.held.path)
    if how == "new":
        (own / "late.json").write_text("{}")
    elif how == "changed":
        (own / "trainer_state.json").write_text("{ }")
    else:
        (own / "trainer_state.json").unlink()
    with pytest.raises(MilepostError, match="kept"):
        folder.delete(place)
    assert (own / "model.npz").exists()
    assert (own / "optimizer.pt").exists()


def test_a_link_inside_goes_and_what_it_points_to_stays(run: Path, tmp_path: Path, capsys: Shown) -> None:
    loser = min(name for name, line in gc(run, capsys)[0].items() if not line["keep"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "vocab.txt").write_text("the\n")
    (run / loser / "vocab.txt").symlink_to(tmp_path / "data" / "vocab.txt")
    (run / loser / "latest").symlink_to("global_step1")
    gc(run, capsys, "--delete")
    assert not (run / loser).exists()
    assert (tmp_path / "data" / "vocab.txt").read_text() == "the\n"


def test_what_goes_with_a_folder_is_named_whatever_it_is(run: Path, capsys: Shown) -> None:
    trainers = [
        ".hidden",
        "global_step1/zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "optimizer.pt",
        "trainer_state.json",
    ]
    first = next(name for name, line in gc(run, capsys)[0].items() if not line["keep"])
    (run / first / "thesis").mkdir()
    (run / first / "thesis" / "chapter 1.tex").write_text("x" * 1234)
    lines, _ = gc(run, capsys)
    gone = {name: line for name, line in lines.items() if not line["keep"]}
    assert first in gone
    for name, line in gone.items():
        others = {one["file"]: one["bytes"] for one in line["others"]}
        assert set(others) == {*trainers, *(["thesis/chapter 1.tex"] if name == first else [])}
        assert others == {file: (run / name / file).stat().st_size for file in others}
    words = ["gc", str(run), "--store", str(_store(run)), "--keep-best", "1", "--keep-last", "1"]
    assert main([*words, "--metric", "cross_entropy"]) == 0
    shown = capsys.readouterr().out
    assert f"{first}/: 5 other files, 6.8 KiB: {', '.join(sorted([*trainers, 'thesis/chapter 1.tex']))}" in shown
    assert f"4 other files{' each' if len(gone) > 2 else ''}, " in shown
