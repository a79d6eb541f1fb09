"""Images by class: the laws, the presets against plain Pillow, every kind of file, and what is refused."""

import importlib.util
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from milepost.core.types import Batch
from milepost.data import Images
from milepost.data.images import Preset
from milepost.errors import DataError, MissingExtra, UsageError
from milepost.testing.sources import check_source

RNG = np.random.default_rng(11)
MEAN, STD = np.array([0.485, 0.456, 0.406], "f4"), np.array([0.229, 0.224, 0.225], "f4")


def picture(height: int, width: int, channels: int = 3) -> Image.Image:
    """Make a smooth picture, so that resizing has something to average."""
    rows, columns = np.mgrid[:height, :width]
    planes = [np.sin(rows * RNG.random() / 5 + columns * RNG.random() / 7 + c) for c in range(channels)]
    pixels = np.rint((np.stack(planes, -1) + 1) * 127).astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def filled(folder: Path, count: int = 24, shape: tuple[int, int] = (12, 10)) -> Path:
    for name in ("ant", "bee", "cow"):
        (folder / name / "deep").mkdir(parents=True)
    for number in range(count):
        place = folder / ("ant", "bee", "cow")[number % 3] / ("deep" if number % 4 == 0 else ".")
        picture(*shape).save(place / f"{number:02}.png")
    return folder


def all_of(source: Images, batch_size: int = 1000) -> Batch:
    (batch,) = source.batches(0, source.size, batch_size)
    return batch


def one(folder: Path, image: Image.Image, suffix: str = "png", **how: Any) -> Path:
    (folder / "only").mkdir(exist_ok=True)
    image.save(folder / "only" / f"x.{suffix}", **how)
    return folder


def test_images_keep_the_laws(tmp_path: Path) -> None:
    folder, other, renamed = (filled(tmp_path / name) for name in ("a", "b", "c"))
    for number in range(24):  # the others are made of other random numbers
        for path in folder.rglob(f"{number:02}.png"):
            relative = path.relative_to(folder)
            for copy in (other, renamed):
                (copy / relative).write_bytes(path.read_bytes())
    pixels = np.asarray(Image.open(other / "bee" / "01.png")).copy()
    pixels[3, 3, 0] ^= 1
    Image.fromarray(pixels).save(other / "bee" / "01.png")
    (renamed / "bee" / "01.png").rename(renamed / "bee" / "zz.png")
    others: list[dict[str, Any]] = [
        {"seed": 1},
        {"order": "natural"},
        {"label_offset": 1},
        {"classes": {"ant": 0, "bee": 2, "cow": 1}},
        {"preset": "raw"},
        {"layout": "NHWC"},
        {"mode": "BGR"},
        {"interpolation": "bicubic"},
        {"mean": (0, 0, 0), "std": (1, 1, 1)},
        {"version": "toy@1"},
        {"version": "toy@1", "label_offset": 1},
    ]
    base: dict[str, Any] = {"preset": "unit", "workers": 3}
    changed: list[Callable[[], Images]] = [lambda more=more: Images(folder, **(base | more)) for more in others]  # type: ignore[misc]
    changed += [lambda: Images(other, **base), lambda: Images(renamed, **base)]
    check_source(lambda: Images(folder, **base), changed)


def test_images_of_declared_size_keep_the_laws(tmp_path: Path) -> None:
    folder = filled(tmp_path, 21)
    check_source(lambda: Images(folder, resize=9, crop=(8, 7), layout="NHWC", order="natural", workers=2))


def plain_pillow(path: Path, resize: int, crop: int, resample: Image.Resampling) -> np.ndarray:
    """Resize the shorter side, crop the centre, scale: as the classifiers' own preprocessing is written down."""
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    size = tuple(resize if side == short else int(resize * side / short) for side in image.size)
    image = image.resize((size[0], size[1]), resample)
    left, top = (round((side - crop) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + crop, top + crop)))
    made: np.ndarray = ((pixels.astype("f4") / np.float32(255) - MEAN) / STD).transpose(2, 0, 1)
    return made


@pytest.mark.parametrize("shape", [(300, 400), (401, 299), (256, 256), (256, 391), (100, 37)])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_imagenet_is_what_plain_pillow_gives(tmp_path: Path, shape: tuple[int, int], suffix: str) -> None:
    folder = one(tmp_path, picture(*shape), suffix)
    found = all_of(Images(folder))
    assert found.inputs.dtype == np.float32
    expected = plain_pillow(folder / "only" / f"x.{suffix}", 256, 224, Image.Resampling.BILINEAR)
    assert np.array_equal(found.inputs[0], expected)
    changed = all_of(Images(folder, resize=90, crop=77, interpolation="bicubic", layout="NHWC")).inputs[0]
    other = plain_pillow(folder / "only" / f"x.{suffix}", 90, 77, Image.Resampling.BICUBIC)
    assert np.array_equal(changed.transpose(2, 0, 1), other)


def test_raw_and_unit_keep_every_pixel(tmp_path: Path) -> None:
    image = picture(5, 7)
    folder, pixels = one(tmp_path, image), np.asarray(image)
    raw = all_of(Images(folder, preset="raw", layout="NHWC")).inputs
    assert raw.dtype == np.uint8
    assert np.array_equal(raw[0], pixels)
    assert np.array_equal(all_of(Images(folder, preset="raw", mode="BGR")).inputs[0], pixels.transpose(2, 0, 1)[::-1])
    unit = all_of(Images(folder, preset="unit")).inputs
    assert np.array_equal(unit[0], pixels.transpose(2, 0, 1).astype("f4") / np.float32(255))
    grey = all_of(Images(folder, preset=Preset(mode="L", mean=(0.5,), std=(0.25,)))).inputs
    expected = (np.asarray(image.convert("L"), "f4") / np.float32(255) - np.float32(0.5)) / np.float32(0.25)
    assert np.array_equal(grey[0, 0], expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_of_eight_bits_becomes_the_declared_one(tmp_path: Path, mode: str) -> None:
    folder = one(tmp_path, picture(6, 8).convert(mode), "tif")
    with Image.open(folder / "only" / "x.tif") as image:
        assert image.mode == mode
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(all_of(Images(folder, preset="raw", layout="NHWC")).inputs[0], expected)


def test_a_palette_with_transparency_drops_it_without_a_warning(tmp_path: Path) -> None:
    image = picture(6, 8).quantize(16)
    folder = one(tmp_path, image, transparency=bytes(range(16)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = all_of(Images(folder, preset="raw", layout="NHWC")).inputs[0]
    assert np.array_equal(found, np.asarray(image.convert("RGB")))


def test_exif_turns_an_image_only_where_that_is_declared(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = one(tmp_path, picture(8, 16), "jpg", exif=exif)
    assert all_of(Images(folder, preset="raw")).inputs.shape == (1, 3, 8, 16)
    turned = all_of(Images(folder, preset="raw", exif=True, layout="NHWC")).inputs[0]
    with Image.open(folder / "only" / "x.jpg") as image:
        assert np.array_equal(turned, np.asarray(ImageOps.exif_transpose(image)))


def test_labels_names_and_ids(tmp_path: Path) -> None:
    folder = filled(tmp_path, 6)
    found = all_of(Images(folder, preset="raw", order="natural"))
    assert found.labels.dtype == np.int64
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.ids is not None
    assert found.ids.tolist() == [
        "ant/03.png",
        "ant/deep/00.png",
        "bee/01.png",
        "bee/deep/04.png",
        "cow/02.png",
        "cow/05.png",
    ]
    slim = Images(folder, label_offset=1)
    assert slim.class_names == {1: "ant", 2: "bee", 3: "cow"}
    fixed = Images(folder, classes=["cow", "yak", "ant", "bee"], preset="raw", order="natural")
    assert all_of(fixed).labels.tolist() == [2, 2, 3, 3, 0, 0]
    assert fixed.class_names == {0: "cow", 1: "yak", 2: "ant", 3: "bee"}
    mapped = Images(folder, classes={"ant": 5, "bee": 5, "cow": 900}, preset="raw", order="natural")
    assert all_of(mapped).labels.tolist() == [5, 5, 5, 5, 900, 900]
    assert mapped.class_names == {5: "ant | bee", 900: "cow"}


def test_links_are_followed_and_never_in_a_circle(tmp_path: Path) -> None:
    folder = filled(tmp_path / "real", 6)
    os.symlink(folder / "ant", folder / "ant" / "deep" / "back")
    assert Images(folder, preset="raw").size == 6
    (tmp_path / "linked").mkdir()
    os.symlink(folder / "bee", tmp_path / "linked" / "bee")
    assert Images(tmp_path / "linked", preset="raw").size == 2


def test_files_that_are_no_images_are_listed(tmp_path: Path) -> None:
    folder = filled(tmp_path, 6)
    (folder / "ant" / "notes.txt").write_text("x")
    (folder / ".hidden").write_text("x")
    with pytest.warns(UserWarning, match=r"1 files are left out, such as .*notes\.txt"):
        assert Images(folder).size == 6


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_broken_image_is_named(tmp_path: Path, damage: str) -> None:
    folder = filled(tmp_path, 30)
    broken = folder / "bee" / "deep" / "16.png"
    data = {"cut": broken.read_bytes()[:-40], "empty": b"", "text": b"<html>not found</html>"}[damage]
    broken.write_bytes(data)
    with pytest.raises(DataError, match=r"bee/deep/16\.png: is no image that Pillow can read whole"):
        list(Images(folder, preset="unit").batches(0, 30, 7))


def test_images_of_two_sizes_or_too_small_a_crop_are_refused(tmp_path: Path) -> None:
    folder = filled(tmp_path, 6)
    picture(12, 11).save(folder / "cow" / "02.png")
    with pytest.raises(DataError, match=r"cow/02\.png: gives an array of shape \(3, 12, 11\), where \(3, 12, 10\)"):
        list(Images(folder, preset="unit").batches(0, 6, 4))
    assert all_of(Images(folder, preset="unit", resize=(4, 5))).inputs.shape == (6, 3, 4, 5)
    with pytest.raises(DataError, match=r"\.png: is 12 x 1[01] .* before a crop of 64 x 64"):
        list(Images(folder, preset="unit", crop=64).batches(0, 6, 4))


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    folder = one(tmp_path, Image.fromarray(np.full((4, 4), 40_000, np.uint16)))
    with pytest.raises(DataError, match=r"x\.png: has pixels of mode I;?1?6?; expected 8 bits"):
        all_of(Images(folder, preset="raw"))


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be listed"):
        Images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is empty"):
        Images(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="cat: holds no image"):
        Images(tmp_path)
    picture(4, 4).save(tmp_path / "cat" / "1.png")
    with pytest.raises(DataError, match="1 sub-folder not among the 1 declared classes: cat"):
        Images(tmp_path, classes=["dog"])
    picture(4, 4).save(tmp_path / "stray.jpg")
    with pytest.raises(DataError, match=r"stray\.jpg: belongs to no class"):
        Images(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"preset": "imgnet"}, "expected one of imagenet, unit, raw"),
        ({"size": 224}, "unknown parameter size"),
        ({"layout": "HWC"}, "NCHW, NHWC"),
        ({"crop": 0}, "crop is 0"),
        ({"resize": (3, 4, 5)}, "resize is"),
        ({"mode": "L"}, "mean has 3 numbers"),
        ({"preset": "unit", "mean": (0.5, 0.5, 0.5)}, "together"),
        ({"preset": "raw", "mean": (0.5,) * 3, "std": (0.5,) * 3}, 'values="unit"'),
        ({"std": (0.5, 0.5, 0)}, "above 0"),
        ({"workers": 0}, "workers is 0"),
        ({"version": "x"}, "name@version"),
        ({"classes": "ant"}, "a sequence of names"),
        ({"classes": ["ant", "bee", "cow", "ant"]}, "'ant' twice"),
        ({"label_offset": -1}, "smallest label is -1"),
        ({"order": "random"}, "declared-shuffled"),
    ],
)
def test_wrong_calls_are_refused(tmp_path: Path, arguments: dict[str, Any], words: str) -> None:
    folder = filled(tmp_path, 3)
    with pytest.raises(UsageError, match=words):
        Images(folder, **arguments)


@pytest.mark.parametrize(("module", "file", "pip"), [("PIL", "images", "images"), ("torch", "torch_loader", "torch")])
def test_a_missing_extra_is_reported(monkeypatch: pytest.MonkeyPatch, module: str, file: str, pip: str) -> None:
    found = importlib.util.find_spec(f"milepost.data.{file}")
    assert found is not None
    assert found.loader is not None
    again = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "milepost.data._torch_workers", raising=False)
    with pytest.raises(MissingExtra, match=rf"pip install 'milepost\[{pip}\]'"):
        found.loader.exec_module(again)
