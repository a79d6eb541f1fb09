"""A folder of images by class: one sub-folder a class, decoded in threads by Pillow.

Pillow lets go of Python's lock while it decodes and resizes, so that threads use every core without copies between
processes. Each image is written where it belongs in its batch, whichever is ready first.
"""

import os
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Unpack

import google_crc32c
import numpy as np

from milepost.core import Array, Batch, Json
from milepost.data._preset import Changes, Preset, pair, preset_of
from milepost.data.arrays import check_range, declared
from milepost.data.order import OrderName, make_order
from milepost.errors import DataError, MissingExtra, UsageError
from milepost.plain import digest, spec_of

try:
    from PIL import Image, ImageOps
except ModuleNotFoundError as error:
    raise MissingExtra("Pillow", "images") from error

__all__ = ["SUFFIXES", "Images", "Preset"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Files that end so, in any case, are images; others are left out, and their number is told."""

# Wider modes (I;16, I, F) would be clipped to 255 by a conversion, without a word.
_EIGHT_BIT = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_CHUNK = 1 << 20


class Images:
    """Images below `folder`, one sub-folder a class, at any depth below it; sub-folder names sorted are the classes.

    Labels are int64: the class's place in the sorted names, plus `label_offset` (1 for the 1001 classes of Slim, whose
    label 0 is background). `classes` fixes them instead: a sequence of names (a name's place is its label, and it may
    have no folder), or a mapping from name to label. `class_names` keeps the names by label. Ids are the files' paths
    below the folder, with "/".

    `preset` is "imagenet", "unit", "raw" or a `Preset`, and any of its parameters can be declared otherwise:
    `Images("val", preset="imagenet", resize=342, crop=299, layout="NHWC")`. Greyscale, palette, transparent and CMYK
    files are converted to the preset's `mode` (transparency is dropped, not blended); of an animation the first frame
    counts.  Where the preset declares no size all files must have one.

    The fingerprint holds the preset, the labels and the paths, sizes and CRC-32C of every file: each is read once,
    which for millions takes minutes; `version="imagenet-val@1"` declares what the data is instead.

    `workers` threads decode (default: as many as this process may use processors, at most 16).

    Raises `DataError` for a folder or class without images, and for a file that is broken, of more than 8 bits a
    channel, or of another size, naming it.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name in ("cat", "dog"):
    ...     os.mkdir(f"{folder.name}/{name}")
    ...     Image.new("L", (4, 2), 255).save(f"{folder.name}/{name}/1.png")
    >>> source = Images(folder.name, preset="unit", order="natural")
    >>> batch = next(source.batches(0, 2, batch_size=2))
    >>> batch.inputs.shape, batch.labels.tolist(), batch.ids.tolist(), source.class_names
    ((2, 3, 2, 4), [0, 1], ['cat/1.png', 'dog/1.png'], {0: 'cat', 1: 'dog'})
    >>> folder.cleanup()
    """

    name = "images"

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        preset: str | Preset = "imagenet",
        classes: Sequence[str] | Mapping[str, int] | None = None,
        label_offset: int = 0,
        order: OrderName = "seeded",
        seed: int = 0,
        version: str | None = None,
        workers: int | None = None,
        **changes: Unpack[Changes],
    ) -> None:
        """List the files and give them labels; no image is read yet."""
        self._folder = os.fspath(folder)
        self.preset = preset_of(preset, changes)
        self._workers = _workers(workers)
        found, skipped = _listed(self._folder)
        labels = _labels(list(found), classes, label_offset, self._folder)
        self._label_of = labels
        self.class_names = _named(labels)
        self._files = [f"{name}/{file}" for name, files in found.items() for file in files]
        each = [labels[name] for name, files in found.items() for _ in files]
        self._labels = np.array(each, np.int64)
        self.order = make_order(order, len(self._files), seed)
        self._version = declared(version)
        self._fingerprint: dict[str, Json] | None = None
        self._shape = self.preset.shape
        if skipped:
            warnings.warn(
                f"{self._folder}: {len(skipped)} files are left out, such as {skipped[0]}: only names that end in "
                f"{', '.join(SUFFIXES)} are taken for images",
                stacklevel=2,
            )

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self._files)

    def rows(self, positions: Array) -> Array:
        """Natural row numbers at these positions (int64): places in the sorted list of files."""
        return self.order.rows(positions)

    def positions(self, rows: Array) -> Array:
        """Positions of these natural rows (int64)."""
        return self.order.positions(rows)

    def fingerprint(self) -> dict[str, Json]:
        """Return kind, digest, size, labels, preset and order; reads every file unless a version was declared.

        Computed once an object. Pillow's version is not in it: decoders differ by a last digit at most.
        """
        if self._fingerprint is None:
            found = {"version": self._version} if self._version else {}
            self._fingerprint = {
                "kind": self.name,
                **found,
                "digest": digest(self._version) if self._version else self._content(),
                "size": self.size,
                "labels": digest(self._label_of),
                "preset": spec_of(self.preset),
                "order": self.order.spec(),
            }
        return dict(self._fingerprint)

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        """Yield whole batches that touch positions [start, stop), cut at multiples of `batch_size` and at the size.

        Images of the batches after the one that is handed out are decoded meanwhile: one batch, or two images a
        thread where that is more. Raises `DataError` that names the first file, in order, that cannot be used.
        """
        first, stop = check_range(start, stop, batch_size), min(stop, self.size)
        if start >= stop:
            return
        shape = self._row_shape()
        depth = max(1, -(-2 * self._workers // batch_size))
        begun: deque[_Begun] = deque()
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="milepost-images")
        try:
            for begin in range(first, stop, batch_size):
                begun.append(self._begin(pool, begin, min(begin + batch_size, self.size), shape))
                if len(begun) > depth:
                    yield self._finished(begun.popleft())
            while begun:
                yield self._finished(begun.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, pool: ThreadPoolExecutor, start: int, stop: int, shape: tuple[int, ...]) -> "_Begun":
        rows = self.order.rows(np.arange(start, stop))
        dtype = np.uint8 if self.preset.values == "raw" else np.float32
        inputs = np.empty((len(rows), *shape), dtype)
        tasks = [pool.submit(self._decode, row, inputs[place]) for place, row in enumerate(rows.tolist())]
        return _Begun(start, rows, inputs, tasks)

    def _finished(self, begun: "_Begun") -> Batch:
        for task in begun.tasks:
            task.result()
        ids = np.array([self._files[row] for row in begun.rows.tolist()])
        return Batch(begun.inputs, self._labels[begun.rows], ids=ids, start=begun.start, rows=begun.rows)

    def _decode(self, row: int, out: Array) -> None:
        pixels = self._pixels(row)
        if pixels.shape != out.shape:
            raise DataError(
                f"{self._path(row)}: gives an array of shape {pixels.shape}, where {out.shape} is expected; declare "
                "one size with resize=(height, width), or with resize=side and crop=side"
            )
        _fill(out, pixels, self.preset)

    def _pixels(self, row: int) -> Array:
        """Return one image's bytes in the declared layout, before any arithmetic."""
        try:
            with Image.open(self._path(row)) as image:
                pixels = _prepared(image, self.preset)
        except DataError as error:
            raise DataError(f"{self._path(row)}: {error}") from error
        except Exception as error:  # decoders raise whatever they like on damaged bytes
            raise DataError(
                f"{self._path(row)}: is no image that Pillow can read whole: {type(error).__name__}: {error}; mend it "
                "or remove it from the folder"
            ) from error
        return pixels.transpose(2, 0, 1) if self.preset.layout == "NCHW" else pixels

    def _row_shape(self) -> tuple[int, ...]:
        """Return what the preset says of a row's shape, or else the first file."""
        if self._shape is None:
            self._shape = self._pixels(0).shape
        return self._shape

    def _path(self, row: int) -> str:
        return os.path.join(self._folder, *self._files[row].split("/"))

    def _content(self) -> str:
        with ThreadPoolExecutor(self._workers) as pool:
            sums = list(pool.map(_checksum, map(self._path, range(self.size))))
        return digest([[file, *found] for file, found in zip(self._files, sums, strict=True)])


@dataclass(frozen=True, slots=True)
class _Begun:
    """A batch whose images are being decoded into its inputs."""

    start: int
    rows: Array
    inputs: Array
    tasks: list[Future[None]]


def _workers(workers: int | None) -> int:
    if workers is None:
        allowed = getattr(os, "sched_getaffinity", None)
        return min(16, len(allowed(0)) if allowed is not None else os.cpu_count() or 1)
    if workers < 1:
        raise UsageError(f"workers is {workers}; expected 1 or more threads")
    return workers


def _listed(folder: str) -> tuple[dict[str, list[str]], list[str]]:
    """Return the images of each class, as sorted paths below the class's folder, and all other files."""
    found: dict[str, list[str]] = {}
    skipped: list[str] = []
    for entry in _entries(folder):
        if not entry.is_dir():
            if entry.name.lower().endswith(SUFFIXES):
                raise DataError(f"{entry.path}: belongs to no class; expected one sub-folder a class in {folder}")
            skipped.append(entry.path)
            continue
        files = list(_below(entry.path, frozenset()))
        images = [file for file in files if file.lower().endswith(SUFFIXES)]
        skipped += [file for file in files if not file.lower().endswith(SUFFIXES)]
        if not images:
            raise DataError(f"{entry.path}: holds no image; expected files that end in {', '.join(SUFFIXES)}")
        found[entry.name] = sorted(os.path.relpath(file, entry.path).replace(os.sep, "/") for file in images)
    if not found:
        raise DataError(f"{folder}: is empty; expected one sub-folder a class, with images in it")
    return found, skipped


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Return what a folder holds, hidden names aside, sorted by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted((item for item in entries if not item.name.startswith(".")), key=lambda item: item.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed as a folder of images: {error.strerror}") from error


def _below(folder: str, above: frozenset[str]) -> Iterator[str]:
    """Yield every file below a folder; links are followed, but never back to a folder above."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _below(entry.path, above | {real})
        else:
            yield entry.path


def _labels(
    found: list[str], classes: Sequence[str] | Mapping[str, int] | None, offset: int, folder: str
) -> dict[str, int]:
    """Return the label of every class; `DataError` for a folder that has none."""
    if isinstance(classes, str):
        raise UsageError(f"classes is the text {classes!r}; expected a sequence of names, or a mapping to labels")
    if isinstance(classes, Mapping):
        labels = {str(name): int(label) + offset for name, label in classes.items()}
    else:
        names = found if classes is None else list(classes)
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError(f"classes names {twice!r} twice")
        labels = {name: place + offset for place, name in enumerate(names)}
    missing = sorted(set(found) - labels.keys())
    if missing:
        listed = ", ".join(missing[:5])
        raise DataError(
            f"{folder}: {len(missing)} sub-folders are none of the {len(labels)} declared classes: {listed}"
        )
    if min(labels.values()) < 0:
        raise UsageError(f"the smallest label is {min(labels.values())}; labels are 0 or more")
    return labels


def _named(labels: Mapping[str, int]) -> dict[int, str]:
    """Return names by label; classes that a mapping gives one label share a name."""
    names: dict[int, str] = {}
    for name, label in sorted(labels.items(), key=lambda item: (item[1], item[0])):
        names[label] = f"{names[label]} | {name}" if label in names else name
    return names


def _checksum(path: str) -> tuple[int, int]:
    """Return a file's size and CRC-32C."""
    size = found = 0
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                size, found = size + len(chunk), google_crc32c.extend(found, chunk)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return size, found


def _prepared(image: Image.Image, preset: Preset) -> Array:
    """Return pixels [height, width, channels] as uint8, of the declared mode and size."""
    if image.mode not in _EIGHT_BIT:
        raise DataError(
            f"has pixels of mode {image.mode}; expected 8 bits a channel: convert it, and say how it scales"
        )
    turned = ImageOps.exif_transpose(image) if preset.exif else image
    sized = _cropped(_resized(_converted(turned, preset.mode), preset), preset)
    pixels = np.asarray(sized)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels  # noqa: PLR2004 - a greyscale image has no third axis
    return pixels[:, :, ::-1] if preset.mode == "BGR" else pixels


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in {"P", "PA"} and "transparency" in image.info:
        # The same colours as without the detour, and Pillow does not warn.
        image = image.convert("RGBA")
    return image.convert("L" if mode == "L" else "RGB")


def _resized(image: Image.Image, preset: Preset) -> Image.Image:
    side = preset.resize
    if side is None:
        return image
    width, height = image.size
    if isinstance(side, tuple):
        height, width = side
    elif width <= height:
        width, height = side, int(side * height / width)
    else:
        width, height = int(side * width / height), side
    return image.resize((width, height), Image.Resampling[preset.interpolation.upper()])


def _cropped(image: Image.Image, preset: Preset) -> Image.Image:
    if preset.crop is None:
        return image
    height, width = pair(preset.crop)
    if image.height < height or image.width < width:
        raise DataError(
            f"is {image.height} x {image.width} (height x width) before a crop of {height} x {width}; "
            "declare resize= so that every image is large enough"
        )
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _fill(out: Array, pixels: Array, preset: Preset) -> None:
    """Write pixels into a row of the batch, scaled as the preset says, in float32 step by step as torchvision does."""
    if preset.values == "raw":
        out[...] = pixels
        return
    np.divide(pixels, np.float32(255), out=out, dtype=np.float32)
    if preset.mean is not None and preset.std is not None:
        axes = (-1, 1, 1) if preset.layout == "NCHW" else (1, 1, -1)
        out -= np.array(preset.mean, np.float32).reshape(axes)
        out /= np.array(preset.std, np.float32).reshape(axes)
