"""`forget`: what goes, what stays since it is shared or in work, and that a run then does what is missing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import checkpoints, contents, evaluation_of, examples, go, linear

from milepost.cli import main
from milepost.core.types import Array
from milepost.data import Arrays
from milepost.store.store import Store

pytestmark = pytest.mark.usefixtures("nothing_is_forced")
Shown = pytest.CaptureFixture[str]


def halved(weights: Mapping[str, Array], inputs: Array) -> Array:
    """Predict as `linear` does, less surely."""
    return linear(weights, inputs) * np.float32(0.5)


VERSIONS = {"old-1": linear, "new-2": halved}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two checkpoints on two data sets, by two versions of the code."""
    folder = checkpoints(tmp_path / "lenet", 100, 200)
    data = {name: Arrays(*examples(300, seed)) for seed, name in enumerate(("clean", "noisy"))}
    for version, predict in VERSIONS.items():
        go(evaluation_of(predict=predict, data=data, version=version), folder, store=tmp_path / "evals")
    return tmp_path / "evals"


def forgotten(capsys: Shown, store: Path, *words: str, code: int = 0) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    capsys.readouterr()
    assert main(["forget", *words, "--json", f"--store={store}"]) == code
    *lines, done = map(json.loads, capsys.readouterr().out.splitlines())
    return lines, done


def left(store: Path) -> list[tuple[str, str]]:
    specs = [Store.open(store).evaluation(key).spec() or {} for key in Store.open(store).evaluations()]
    return sorted((spec["code"].removeprefix("declared:"), spec["data_name"]) for spec in specs)


def test_a_dry_run_touches_nothing_and_says_what_would_go(store: Path, capsys: Shown) -> None:
    before = contents(store)
    lines, done = forgotten(capsys, store, "--code", "old-1")
    assert contents(store) == before
    assert [line["kind"] for line in lines] == ["evaluation"] * 4 + ["code"]
    assert not any(line["deleted"] for line in lines)
    assert (done["evaluations"], done["dry_run"], done["kept"]) == (4, True, 0)
    assert done["bytes"] == sum(line["bytes"] for line in lines) > 0
    capsys.readouterr()
    assert main(["forget", "--code", "old-1", f"--store={store}"]) == 0
    assert "4 evaluations" in capsys.readouterr().out.splitlines()[-1]


def test_an_old_code_version_goes_and_the_new_one_stays(store: Path, capsys: Shown) -> None:
    _, done = forgotten(capsys, store, "--code", "old-1", "--delete")
    assert (done["evaluations"], done["dry_run"]) == (4, False)
    assert left(store) == [("new-2", name) for name in ("clean", "clean", "noisy", "noisy")]
    assert [code["version"] for code in Store.open(store).codes.all()] == ["declared:new-2"]
    assert len(list((store / "datasets").iterdir())) == 2
    assert main(["forget", "--code", "old-1", f"--store={store}"]) == 2


def test_a_data_set_goes_by_name_or_digest_with_its_columns(store: Path, capsys: Shown) -> None:
    lines, done = forgotten(capsys, store, "--data", "noisy", "--delete")
    assert [line["kind"] for line in lines] == ["evaluation"] * 4 + ["data"]
    assert {line["data"] for line in lines[:4]} == {"noisy"}
    (rest,) = (path.name for path in (store / "datasets").iterdir())
    assert {name for _, name in left(store)} == {"clean"}
    _, done = forgotten(capsys, store, "--data", rest[:8], "--code", "new-2", "--delete")
    assert done["evaluations"] == 2
    assert (store / "datasets" / rest).exists()  # the old version's evaluations are of it


def test_a_checkpoint_goes_with_its_record_and_is_evaluated_again(store: Path, capsys: Shown, tmp_path: Path) -> None:
    before = contents(store)
    lines, _ = forgotten(capsys, store, "200", "--delete")
    assert [line["kind"] for line in lines] == ["evaluation"] * 4 + ["checkpoint"]
    assert [row["step"] for row in Store.open(store).listing().checkpoints()] == [100]
    data = {name: Arrays(*examples(300, seed)) for seed, name in enumerate(("clean", "noisy"))}
    for version, predict in VERSIONS.items():
        go(evaluation_of(predict=predict, data=data, version=version), tmp_path / "lenet", store=store)
    used = {f"codes/latest-{number:06d}.json" for number in (3, 4)}  # both versions once more, one after the other
    assert contents(store).keys() == before.keys() | used


def test_weights_that_keep_an_evaluation_keep_their_record(store: Path, capsys: Shown) -> None:
    lines, _ = forgotten(capsys, store, "200", "--code", "old-1", "--delete")
    assert [line["kind"] for line in lines] == ["evaluation"] * 2
    assert [row["state"] for row in Store.open(store).listing().checkpoints()] == ["done", "done"]


def test_what_a_worker_holds_stays(store: Path, capsys: Shown) -> None:
    opened = Store.open(store)
    key = next(key for key in opened.evaluations() if (opened.evaluation(key).spec() or {})["code"] == "declared:old-1")
    with opened.worker() as worker:
        assert opened.lease(key, "kept-300", worker).acquire()
        lines, done = forgotten(capsys, store, "--code", "old-1", "--delete", code=3)
    assert [line["reason"] for line in lines if line["name"] == key] == ["a worker holds it"]
    assert (done["evaluations"], done["kept"]) == (3, 1)
    assert key in opened.evaluations()
    assert "declared:old-1" in {code["version"] for code in opened.codes.all()}  # one of its evaluations is left
    assert opened.evaluation(key).results.read()


def test_one_evaluation_goes_by_its_key(store: Path, capsys: Shown) -> None:
    key = Store.open(store).evaluations()[0]
    lines, _ = forgotten(capsys, store, "--evaluation", key[:10], "--delete")
    assert [line["name"] for line in lines] == [key]
    assert not (store / Store.open(store).evaluation(key).folder).exists()


@pytest.mark.parametrize(
    "words", [[], ["--code", "nothing"], ["--code", "old-"], ["--evaluation", "zz"], ["--data", "cle"]]
)
def test_what_fits_nothing_is_a_mistake(store: Path, words: list[str], capsys: Shown) -> None:
    before = contents(store)
    assert main(["forget", *words, "--delete", f"--store={store}"]) == 2
    assert contents(store) == before
    assert "forget" in capsys.readouterr().err or words
