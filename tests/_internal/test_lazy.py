"""The lazy rooms: found by the text of their files, nothing imported but what is asked for."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import milepost.metrics
from milepost._internal import lazy

TOY = '''
"""A toy."""
class _Base:
    name = "base"
class Helper:
    """Has no name, so is not handed on."""
class ToyShare(_Base):
    name: str = "toy_share"
class Inherits(ToyShare):
    """Its name is its base's."""
'''


@pytest.fixture
def toy_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Add a folder to the metrics' room, as a plugin under test does."""
    (tmp_path / "toy_share.py").write_text(TOY)
    (tmp_path / "_private.py").write_text("class Hidden:\n    name = 'hidden'\n")
    monkeypatch.setattr(milepost.metrics, "__path__", [*milepost.metrics.__path__, str(tmp_path)])
    before = set(vars(milepost.metrics))
    importlib.invalidate_caches()
    yield tmp_path
    for name in set(vars(milepost.metrics)) - before:
        delattr(milepost.metrics, name)
    for name in [name for name in sys.modules if name.startswith("milepost.metrics.toy_")]:
        del sys.modules[name]


def test_a_file_that_joins_the_room_is_handed_on(toy_folder: Path) -> None:
    assert "milepost.metrics.toy_share" not in sys.modules
    toy = milepost.metrics.ToyShare  # type: ignore[attr-defined]  # it joined a moment ago
    assert toy.name == "toy_share"
    assert {"ToyShare", "Inherits"} <= set(dir(milepost.metrics))
    assert {"ToyShare", "Inherits"} <= set(lazy.classes("milepost.metrics"))


@pytest.mark.parametrize("name", ["Helper", "Hidden", "_Base", "Nowhere", "__wrapped__"])
def test_what_is_not_the_rooms_is_an_attribute_error(toy_folder: Path, name: str) -> None:
    with pytest.raises(AttributeError, match=f"milepost.metrics.*{name}"):
        getattr(milepost.metrics, name)
    assert "milepost.metrics.toy_share" not in sys.modules


def test_a_file_is_imported_only_for_its_own_class(toy_folder: Path) -> None:
    (toy_folder / "toy_broken.py").write_text("class Broken:\n    name = 'broken'\nraise RuntimeError('imported')\n")
    importlib.invalidate_caches()
    assert "Broken" in dir(milepost.metrics)
    assert milepost.metrics.Inherits.__module__ == "milepost.metrics.toy_share"  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="imported"):
        _ = milepost.metrics.Broken  # type: ignore[attr-defined]


def test_two_files_with_one_class_are_refused(toy_folder: Path) -> None:
    (toy_folder / "toy_two.py").write_text("class ToyShare:\n    name = 'two'\n")
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match=r"ToyShare is defined in both toy_share\.py and toy_two\.py"):
        lazy.classes("milepost.metrics")


def test_a_star_import_takes_every_class(toy_folder: Path) -> None:
    taken: dict[str, object] = {}
    exec("from milepost.metrics import *", taken)  # noqa: S102 - a star is allowed nowhere else
    assert {"ToyShare", "Inherits"} <= set(taken)
    assert "Helper" not in taken


def test_submodules_import_as_ever(toy_folder: Path) -> None:
    module = importlib.import_module("milepost.metrics.toy_share")
    assert module.ToyShare.name == "toy_share"


def test_a_fixed_list_hands_on_and_refuses() -> None:
    getter, lister = lazy.table("milepost", {"Batch": "milepost.core.types:Batch"})
    assert getter("Batch").__name__ == "Batch"
    assert "Batch" in lister()
    with pytest.raises(AttributeError, match="no attribute 'Bach'"):
        getter("Bach")
