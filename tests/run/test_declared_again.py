"""What a name means after another way of reading its file was tried and taken back: what the last run declared."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from tests._material import checkpoints, command, evaluation_of, go, lines_of, weights_of

RAW = {"raw": "model", "ema": "ema"}
SWAPPED = {"raw": "ema", "ema": "model"}


def two_sets(path: Path) -> Path:
    path.parent.mkdir()
    sets = {name: weights_of(seed) for seed, name in enumerate(RAW.values())}
    torch.save({name: {key: torch.from_numpy(item) for key, item in held.items()} for name, held in sets.items()}, path)
    return path


def shown(store: Path, address: str) -> str:
    records = lines_of(command("show", address, "--json", "--store", store).stdout).of("record")
    (found,) = {str(record["checkpoint"]["digest"]) for record in records}
    return found


def declared(path: Path, store: Path, variants: Mapping[str, str]) -> tuple[str, str]:
    """Evaluate with a declaration of variants; return the digests that `show` takes for both names."""
    assert go(evaluation_of(variants=variants), path, store=store).failures == {}
    return shown(store, "step-1"), shown(store, "step-1:ema")


def test_a_name_is_what_was_declared_last_though_it_was_read_so_before(tmp_path: Path) -> None:
    path, store = two_sets(tmp_path / "lenet" / "step-1.pt"), tmp_path / "evals"
    one, other = declared(path, store, RAW)
    assert one != other
    assert declared(path, store, SWAPPED) == (other, one)
    assert declared(path, store, RAW) == (one, other)
    assert "held other weights before" not in command("show", "step-1", "--store", store).stderr
    assert declared(path, store, SWAPPED) == (other, one)
    best = command("best", "--metric", "top1", "--store", store).stdout
    assert "not compared" not in best


def test_what_was_overwritten_since_stays_so_whatever_is_declared(tmp_path: Path) -> None:
    path, store = two_sets(tmp_path / "lenet" / "step-1.pt"), tmp_path / "evals"
    before = declared(path, store, RAW)
    torch.save({name: {key: torch.from_numpy(item) for key, item in weights_of(7 + place).items()}
                for place, name in enumerate(RAW.values())}, path)  # fmt: skip
    declared(path, store, SWAPPED)
    assert set(declared(path, store, RAW)).isdisjoint(before)
    assert "held other weights before" in command("show", "step-1", "--store", store).stderr


EVALUATION = """
from tests._material import evaluation_of
evaluation = evaluation_of(version={version!r})
"""


def test_two_projects_of_one_name_in_one_store_are_reported(tmp_path: Path) -> None:
    runs, store = checkpoints(tmp_path / "runs", 1), tmp_path / "evals"
    files = [tmp_path / name / "lenet" / "ev.py" for name in ("ann", "bob")]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text(EVALUATION.format(version=file.parts[-3]))

    def run(file: Path) -> str:
        ended = command("run", file, runs, "--store", store, "--engine", "inprocess")
        assert ended.returncode == 0, ended.stderr
        return ended.stderr

    assert "count as of earlier code" not in run(files[0])
    noted = run(files[1])
    assert f"results of {files[0]} count as of earlier code from now on" in noted
    assert "lenet/ev.py; if they are two projects, rename a folder or give each a store of its own" in noted
    assert "count as of earlier code" not in run(files[1])
    files[1].unlink()  # a project that was moved is one project
    assert "count as of earlier code" not in run(files[0])


def test_averages_that_are_not_evaluated_are_named_once_with_what_evaluates_them(tmp_path: Path) -> None:
    folder, store = tmp_path / "lenet", tmp_path / "evals"
    two_sets(folder / "step-1.pt")
    shutil.copy(folder / "step-1.pt", folder / "step-2.pt")
    torch.save({name: {key: torch.from_numpy(item) for key, item in weights_of(7 + place).items()}
                for place, name in enumerate(RAW.values())}, folder / "step-3.pt")  # fmt: skip
    notes = go(evaluation_of(), folder, store=store).notes
    words = (
        'averaged weights in the files are not evaluated (ema at \'ema\'): Evaluation(variants=("raw", "ema")) gives'
    )
    assert notes.count(words) == 1
    assert go(evaluation_of(variants=("raw", "ema")), folder, store=store).notes.count("not evaluated") == 0
    assert go(evaluation_of(), folder, store=store).notes.count("not evaluated") == 0  # nothing was left to do
