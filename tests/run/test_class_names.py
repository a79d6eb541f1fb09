"""Class names are on record beside the data: they change no number, can be given later, and `show` prints them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests._material import checkpoints, command, evaluation_of, examples, go, linear

from milepost.core.types import Array
from milepost.data.arrays import Arrays
from milepost.data.images import Images
from milepost.metrics.confusion import Confusion
from milepost.store.store import Store

NAMES = [f"class-{letter}" for letter in "abcdefghij"]


def named(*names: str) -> Any:
    more: Any = {"class_names": names} if names else {}
    return evaluation_of(data={"test": Arrays(*examples(300), **more)}, metrics=[Confusion()])


def held(place: Path) -> dict[int, str]:
    store = Store.open(place)
    (spec,) = [store.evaluation(key).spec() for key in store.evaluations()]
    assert spec is not None
    return store.dataset(spec["data"]).class_names.read()


def test_names_can_be_given_later_and_mended(tmp_path: Path) -> None:
    runs, place = checkpoints(tmp_path / "runs", 1), tmp_path / "evals"
    assert go(named(), runs, store=place).done == (1, 0, 0)
    assert held(place) == {}
    for names in (NAMES, ["other", *NAMES[1:]]):
        assert go(named(*names), runs, store=place).done == (0, 1, 0), "names are no part of what was evaluated"
        assert held(place) == dict(enumerate(names))
    go(named(), runs, store=place)
    assert held(place)[0] == "other", "names that are not given again are kept"


def test_show_names_the_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    go(named(*NAMES), checkpoints(tmp_path / "runs", 1), store=Path("milepost-store"))
    lines = command("show", "1", cwd=tmp_path).stdout.splitlines()
    (shown,) = [line.split(maxsplit=1)[1] for line in lines if line.startswith("  classes ")]
    assert shown == f"10: {', '.join(f'{place} {name}' for place, name in enumerate(NAMES[:8]))} and 2 more"
    place = lines.index("table confusion")
    assert lines[place + 1].split() == ["#", "class", "support", "nonfinite", "precision", "recall"]
    assert lines[place + 2].split()[:2] == ["0", "class-a"]
    matrix = lines.index("  matrix: 10 x 10 [label, prediction]")
    assert lines[matrix + 3].split()[:2] == ["1", "class-b"]


def test_the_numbering_of_names_in_a_csv_is_reported_once_and_shown(tmp_path: Path) -> None:
    folder, table = tmp_path / "val", tmp_path / "labels.csv"
    folder.mkdir()
    for number in range(6):
        Image.new("L", (4, 2), 40 * number).save(folder / f"{number}.png")
    table.write_text("".join(f"{number}.png,{['cow', 'ant', 'bee'][number % 3]}\n" for number in range(6)))

    def scored(weights: dict[str, Array], inputs: Array) -> Array:
        return linear(weights, np.asarray(inputs.reshape(len(inputs), -1) / 255, np.float32))

    def run(**more: Any) -> str:
        data = {"test": Images(folder, labels=table, preset="raw", mode="L", **more)}
        evaluation = evaluation_of(data=data, predict=scored, metrics=[Confusion()])
        return go(evaluation, checkpoints(tmp_path / "runs", 1, 2), store=tmp_path / "evals").notes

    words = "the classes (3) are numbered in the order of their names: 0 ant, 1 bee, 2 cow; if the model's outputs"
    assert run().count(words) == 1
    shown = command("show", "1", "--store", tmp_path / "evals").stdout
    assert [line.split(maxsplit=1)[1] for line in shown.splitlines() if line.startswith("  classes ")] == [
        "3: 0 ant, 1 bee, 2 cow"
    ]
    assert words not in run(classes=["ant", "bee", "cow"])
