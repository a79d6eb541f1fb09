"""`gc` on real files: what goes, and all that must not."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests._material import checkpoints, evaluation_of, go, save, weights_of

from milepost.cli import main
from milepost.core.types import Identity
from milepost.metrics.confusion import Confusion
from milepost.metrics.top_k import TopK
from milepost.store.deletions import Deletions
from milepost.store.store import Store

pytestmark = pytest.mark.usefixtures("nothing_is_forced")
Shown = pytest.CaptureFixture[str]
STEPS = tuple(range(100, 1000, 100))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make nine checkpoints of random weights."""
    return checkpoints(tmp_path / "lenet", *STEPS)


@pytest.fixture
def store(tmp_path: Path, folder: Path) -> Path:
    """Evaluate them, the first under two names."""
    shutil.copy(folder / "step-100.npz", folder / "first.npz")
    evaluate(folder, tmp_path / "evals")
    return tmp_path / "evals"


def evaluate(folder: Path, store: Path, **options: Any) -> None:
    go(evaluation_of(), folder, store=store, **options)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def gc(folder: Path, store: Path, capsys: Shown, *words: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Run it; return the lines by file name, and the last one."""
    capsys.readouterr()
    code = main(["gc", str(folder), "--store", str(store), "--metric", "cross_entropy", "--json", *words])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == (3 if any(line.get("problem") for line in lines) else 0)
    return {os.path.basename(line["path"]): line for line in lines[:-1]}, lines[-1]


FEW = ("--keep-best", "1", "--keep-last", "1")


def test_a_dry_run_touches_nothing_and_a_real_one_deletes_just_that(folder: Path, store: Path, capsys: Shown) -> None:
    before = names(folder)
    events, last = gc(folder, store, capsys, *FEW)
    assert names(folder) == before
    assert set(events) == before
    going = {name for name, line in events.items() if not line["keep"]}
    assert 0 < len(going) < len(before)
    values = {name: line["value"] for name, line in events.items()}
    best = min(values, key=lambda name: values[name])
    assert events[best]["keep"]
    assert events["step-900.npz"]["keep"]
    freed = sum((folder / name).stat().st_size for name in going)
    assert (last["dry_run"], last["deleted"], last["bytes"]) == (True, 0, freed)
    _, last = gc(folder, store, capsys, *FEW, "--delete")
    assert names(folder) == before - going
    assert (last["dry_run"], last["deleted"], last["bytes"]) == (False, len(going), freed)
    _, last = gc(folder, store, capsys, *FEW, "--delete")
    assert last["deleted"] == 0
    facts = [json.loads(file.read_text()) for file in (store / "runs" / "lenet" / "deleted").iterdir()]
    assert {os.path.basename(fact["path"]) for fact in facts} == going
    assert main(["ls", "--store", str(store)]) == 0
    assert "step-200" in capsys.readouterr().out  # its record stays


def top1(folder: Path, store: Path, capsys: Shown, *words: str) -> list[dict[str, Any]]:
    assert main(["gc", str(folder), "--store", str(store), "--metric", "top1", "--json", *words]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()][:-1]


def test_what_is_tied_with_the_best_stays_unless_asked(folder: Path, store: Path, capsys: Shown) -> None:
    capsys.readouterr()
    assert main(["best", "--metric", "top1", "--store", str(store), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    tied = {item["checkpoint"]["step"] for item in found["tied"]}
    assert tied, "the test needs one"
    lines = top1(folder, store, capsys, *FEW)
    for line in lines:
        if line["step"] not in (None, found["best"]["checkpoint"]["step"], 900):
            assert line["keep"] == (line["step"] in tied)
            assert line["reason"].startswith(
                "tied with the best" if line["keep"] else "significantly worse than the be"
            )
    lines = top1(folder, store, capsys, *FEW, "--even-if-tied")
    assert {line["step"] for line in lines if line["keep"]} - {None} == {found["best"]["checkpoint"]["step"], 900}
    gone = {line["reason"] for line in lines if not line["keep"]}
    assert gone == {"by value, even if tied, not among the best 1 nor the last 1"}
    assert main(["gc", str(folder), "--store", str(store), "--metric", "top1", *FEW]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0].split() == ["verdict", "run", "step", "name", "value", "files", "bytes", "reason"]
    assert "--delete does it" in table


def test_the_best_that_is_still_there_is_what_others_are_held_against(folder: Path, store: Path, capsys: Shown) -> None:
    lines = top1(folder, store, capsys, *FEW)
    best = next(line for line in lines if line["reason"] == "best 1")
    os.unlink(best["path"])
    others = top1(folder, store, capsys, *FEW)
    assert max(line["value"] for line in others) == next(line["value"] for line in others if line["reason"] == "best 1")
    assert best["value"] > max(line["value"] for line in others)


def test_a_file_with_variants_is_one_checkpoint_by_its_best(tmp_path: Path, capsys: Shown) -> None:
    folder, store = tmp_path / "two", tmp_path / "evals"
    folder.mkdir()
    for step in STEPS:
        ema = {f"ema.{name}": array for name, array in weights_of(step + 1).items()}
        save(folder / f"step-{step}.npz", {**weights_of(step), **ema})
    go(evaluation_of(variants=("raw", "ema")), folder, store=store)
    words = ["--metric", "cross_entropy", "--store", str(store)]
    lines = _json(capsys, "gc", str(folder), *words, *FEW)
    rows = [row for row in _json(capsys, "ls", "--store", str(store)) if row.get("estimator") == "exact"]
    rows = [row for row in rows if row["metric"] == "cross_entropy"]
    values = {(row["checkpoint"]["step"], row["checkpoint"]["variant"]): row["value"] for row in rows}
    found = {line["step"]: line for line in lines[:-1]}
    assert set(found) == set(STEPS)
    assert {line["variant"] for line in found.values()} == {"raw", "ema"}, "the test needs both"
    best = min(values, key=lambda one: values[one])
    (judged,) = _json(capsys, "best", *words)
    going = {(one["checkpoint"]["step"], one["checkpoint"]["variant"]): one["p_value"] for one in judged["worse"]}
    for step, line in found.items():
        both = {name: values[step, name] for name in ("raw", "ema")}
        assert (line["variant"], line["value"]) == (min(both, key=lambda name: both[name]), min(both.values()))
        assert line["keep"] == (step in (best[0], STEPS[-1]) or any((step, name) not in going for name in both))
        if not line["keep"]:
            assert f"(p = {going[step, line['variant']]:.2g})" in line["reason"]
    lines = _json(capsys, "gc", str(folder), *words, "--keep-best", "3", "--keep-last", "1", "--even-if-tied")
    order = sorted(STEPS, key=lambda step: min(values[step, "raw"], values[step, "ema"]))
    assert {line["step"] for line in lines[:-1] if line["keep"]} == {*order[:3], STEPS[-1]}
    assert main(["gc", str(folder), *words, *FEW]) == 0
    assert capsys.readouterr().out.split()[:5] == ["verdict", "run", "step", "name", "variant"]


def _json(capsys: Shown, *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_what_cannot_be_tested_stays(folder: Path, tmp_path: Path, capsys: Shown) -> None:
    go(evaluation_of(metrics=[TopK(1), Confusion()]), folder, store=tmp_path / "f")
    capsys.readouterr()
    words = ["gc", str(folder), "--store", str(tmp_path / "f"), "--metric", "mean_per_class_accuracy", "--json", *FEW]
    assert main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()][:-1]
    assert all(line["keep"] for line in lines)
    assert "untested: mean_per_class_accuracy is no mean over rows" in {line["reason"] for line in lines}
    assert main([*words, "--even-if-tied"]) == 0
    assert '"keep": false' in capsys.readouterr().out


def test_what_must_stay(folder: Path, store: Path, tmp_path: Path, capsys: Shown) -> None:
    going = {name for name, line in gc(folder, store, capsys, *FEW)[0].items() if not line["keep"]}
    assert len(going) >= 4, "the test needs more losers"
    linked, changed, pinned, touched = sorted(going - {"first.npz", "step-100.npz"})[:4]
    (folder / "latest.npz").symlink_to(linked)
    save(folder / changed, weights_of(7))
    (store / "pins" / "x").mkdir(parents=True)
    os.link(folder / pinned, store / "pins" / "x" / pinned)
    os.utime(folder / touched, (1, 1))
    (folder / "broken.npz").write_bytes(b"PK\3\4 and nothing more")
    save(folder / "step-7000.npz", weights_of(7000))
    before = names(folder)
    events, _ = gc(folder, store, capsys, *FEW, "--delete")
    assert events["latest.npz"]["reason"] == "a symbolic link"
    assert events[linked]["reason"] == "the symbolic link latest.npz points to it"
    assert events[changed]["reason"] == "changed since it was evaluated"
    assert events[touched]["reason"] == "changed since it was evaluated"
    assert events[pinned]["reason"] == "pinned: it waits for its evaluation"
    assert events["broken.npz"]["reason"].startswith("failed: ")
    assert events["step-7000.npz"]["reason"] == "not evaluated yet"
    assert {linked, changed, touched, pinned, "latest.npz", "broken.npz", "step-7000.npz"} <= names(folder)
    assert names(folder) == before - {name for name, line in events.items() if not line["keep"]}


def test_a_claimed_content_stays_under_all_its_names(folder: Path, store: Path, capsys: Shown) -> None:
    events, _ = gc(folder, store, capsys, *FEW)
    going = {name for name, line in events.items() if not line["keep"]}
    assert {"first.npz", "step-100.npz"} <= going or {"first.npz", "step-100.npz"}.isdisjoint(going)
    opened = Store.open(store)
    digests = {os.path.basename(one.path): one.digest for one in opened.checkpoints()}
    chosen = min(going)
    key = next(
        key for key in opened.evaluations() if (opened.evaluation(key).spec() or {})["weights"] == digests[chosen]
    )
    with opened.worker() as worker:
        lease = opened.lease(key, "again-700", worker)
        assert lease.acquire()
        events, _ = gc(folder, store, capsys, *FEW, "--delete")
        assert events[chosen]["reason"] == "claimed: it is being evaluated"
        same = {name for name, digest in digests.items() if digest == digests[chosen]}
        assert same <= names(folder)
        lease.release()
    assert not gc(folder, store, capsys, *FEW)[0][chosen]["keep"]


def test_part_of_the_rows_is_no_value(folder: Path, tmp_path: Path, capsys: Shown) -> None:
    evaluate(folder, tmp_path / "evals", limit=256)
    before = names(folder)
    words = ["gc", str(folder), "--store", str(tmp_path / "evals"), "--metric", "top1", "--delete"]
    assert main(words) == 2
    assert "no checkpoint in it has a whole top1" in capsys.readouterr().err
    assert names(folder) == before


def test_refusals(folder: Path, store: Path, tmp_path: Path, capsys: Shown) -> None:
    other = checkpoints(tmp_path / "other", 100)
    for words, message in (
        ([str(folder), "--metric", "nope"], "no value 'nope' is on record"),
        ([str(folder), "--metric", "top1", "--data", "nope"], "nothing is on record on it; there are: test"),
        ([str(other), "--metric", "top1"], "is on record in"),
        ([str(tmp_path / "nowhere"), "--metric", "top1"], "no such folder"),
    ):
        assert main(["gc", *words, "--store", str(store), "--delete"]) == 2
        assert message in capsys.readouterr().err
    assert (other / "step-100.npz").exists()


def test_a_folder_behind_a_link_is_not_entered_for_deleting(
    folder: Path, store: Path, tmp_path: Path, capsys: Shown
) -> None:
    outside = checkpoints(tmp_path / "outside", *STEPS)
    (folder / "archive").symlink_to(outside)
    evaluate(folder, store)
    capsys.readouterr()
    assert (
        main(["gc", str(folder), "--store", str(store), "--metric", "cross_entropy", *FEW, "--delete", "--json"]) == 0
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()][:-1]
    assert len(list(outside.iterdir())) == len(STEPS)
    assert any(line["deleted"] for line in lines)
    assert {line["reason"] for line in lines if "/archive/" in line["path"]} <= {"outside of the folder"}


def test_what_changes_at_the_last_moment_stays(
    folder: Path, store: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = {name for name, line in gc(folder, store, capsys, *FEW)[0].items() if not line["keep"]}
    real = Deletions.add
    swapped: list[str] = []

    def replaced(self: Deletions, run: str, path: str, identity: Identity, fact: dict[str, Any]) -> bool:
        done = real(self, run, path, identity, fact)
        save(Path(path + ".new.npz"), weights_of(1))
        Path(path + ".new.npz").replace(path)
        swapped.append(os.path.basename(path))
        return done

    monkeypatch.setattr(Deletions, "add", replaced)
    events, last = gc(folder, store, capsys, *FEW, "--delete")
    assert set(swapped) == going, {name: events[name]["reason"] for name in going}
    assert going <= names(folder)
    assert last["deleted"] == 0
    assert {events[name]["reason"] for name in going} == {"changed while it was deleted: the rest is kept"}
