"""A folder of images by class: one sub-folder a class, decoded in threads by Pillow.

Pillow lets go of Python's lock while it decodes and resizes, so that threads use every core without copies between
processes. Each image is written where it belongs in its batch, whichever is ready first.
"""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Unpack, cast

import google_crc32c
import numpy as np

from milepost._internal.serialization import digest
from milepost.core.specs import spec_of
from milepost.core.types import Array, Batch, Json
from milepost.data._fingerprint import declared
from milepost.data._grouped_order import ordered
from milepost.data._image_folder import SUFFIXES, groups_of, slices_of
from milepost.data._image_labels import Labels, by_folder, by_labels
from milepost.data._labels import Labelling
from milepost.data._order import OrderName, check_range
from milepost.data._ordered_source import IndexedSource
from milepost.data._preprocessing import Preset, PresetOptions, pair, preset_of
from milepost.data._slices_groups import cut
from milepost.errors import DataError, MissingExtra, UsageError

try:
    from PIL import Image, ImageOps
except ModuleNotFoundError as error:
    raise MissingExtra("Pillow", "images") from error

__all__ = ["SUFFIXES", "Images", "Preset"]

# Wider modes (I;16, I, F) would be clipped to 255 by a conversion, without a word.
_EIGHT_BIT = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_CHUNK = 1 << 20


class _ImagesOptions(PresetOptions, total=False):
    """Further parameters."""

    labels: Labels
    slices: Callable[[str], Mapping[str, Any]]
    groups: Callable[[str], Any]


class Images(IndexedSource):
    """Images below `folder`, one sub-folder a class, at any depth below it; sub-folder names sorted are the classes.

    Labels are int64: the class's place in the sorted names, plus `label_offset` (1 for the 1001 classes of Slim, whose
    label 0 is background). `classes` fixes them instead: a sequence of names (a name's place is its label, and it may
    have no folder), or a mapping from name to label. `class_names` keeps the names by label. Ids are the files' paths
    below the folder, with "/".

    `labels` says which class each image is of where sub-folders do not: a CSV's path, a mapping from the path below the
    folder to the label, or a function of that path. Labels are class numbers, or names, which are numbered as they are
    sorted, or by `classes`; None (in a CSV, nothing) leaves an image out. A CSV has the files' names, with or without
    their endings, in its first column and the labels in its second, or a header that names these: `file`, `filename`,
    `image`, `path`, `name` or `id`, and `label`, `class`, `category` or `target`.

    `preset` is "imagenet", "unit", "raw" or a `Preset`, and any of its parameters can be declared otherwise:
    `Images("val", preset="imagenet", resize=342, crop=299, layout="NHWC")`. Greyscale, palette, transparent and CMYK
    files are converted to the preset's `mode` (transparency is dropped, not blended); of an animation the first frame
    counts.  Where the preset declares no size all files must have one.

    `slices` and `groups`, as `Arrays` has them, are functions of the path below the folder:
    `slices=lambda path: {"camera": path.split("/")[1]}`, `groups=lambda path: path.split("/")[1]`.

    The fingerprint holds the preset, the labels and the paths, sizes and CRC-32C of every file: each is read once,
    which for millions takes minutes; `version="imagenet-val@1"` declares what the data is instead.

    `workers` threads decode (default: as many as this process may use processors, at most 16).

    Raises `DataError` for a folder or class without images, images without a label and labels without an image, which
    it names, and for a file that is broken, of more than 8 bits a
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
        **more: Unpack[_ImagesOptions],
    ) -> None:
        self._folder = os.fspath(folder)
        changes = {name: value for name, value in more.items() if name not in {"labels", "slices", "groups"}}
        self.preset = preset_of(preset, cast(PresetOptions, changes))
        self._workers = _workers(workers)
        given = more.get("labels")
        if given is None:
            self._held = by_folder(self._folder, classes, label_offset)
        else:
            self._held = by_labels(self._folder, given, classes, label_offset)
        self._labelling = Labelling(names=self._held.names)
        self._left_out = {"label None": self._held.unlabelled} if self._held.unlabelled else {}
        self._files, self._labels, skipped = self._held.files, self._held.labels, self._held.skipped
        self._slices = slices_of(self._files, more.get("slices"))
        self._groups = groups_of(self._files, more.get("groups"))
        self._size = len(self._files)
        self._order = ordered(order, self._size, seed, self._groups)
        self._version = declared(version, type(self).__name__)
        self._shape = self.preset.shape
        if skipped:
            note = (
                f"{self._folder}: {len(skipped)} files are left out, such as {skipped[0]}: only names that end in "
                f"{', '.join(SUFFIXES)} are taken for images"
            )
            self.notes = (note,)
            warnings.warn(note, stacklevel=2)

    def fingerprint(self) -> dict[str, Json]:
        """Return kind, digest, size, labels, preset and order; reads every file unless a version was declared.

        Computed once an object. Pillow's version is not in it: decoders differ by a last digit at most.
        """
        return super().fingerprint() | {"labels": self._held.digest, "preset": spec_of(self.preset)}

    def described(self) -> dict[str, Json]:
        """Return plain data to show: classes, by what they are numbered, preset, and what there is of the rest."""
        return {**super().described(), "numbered": self._held.numbered, "preset": spec_of(self.preset)}

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        """Yield whole batches that touch positions [start, stop), cut at multiples of `batch_size` and at the size.

        Images of the batches after the one that is handed out are decoded meanwhile: one batch, or two images a
        thread where that is more. Raises `DataError` that names the first file, in order, that cannot be used.
        """
        first, stop = check_range(start, stop, batch_size), min(stop, self.size)
        if start >= stop:
            return
        begins = range(first, stop, batch_size)
        yield from self._decoded(
            (begin, self.order.rows(np.arange(begin, min(begin + batch_size, self.size)))) for begin in begins
        )

    def gather(self, positions: Array, batch_size: int) -> Iterator[Batch]:
        """Yield the images at these positions, `batch_size` at a time; `start` counts them."""
        begins = range(0, len(positions), batch_size)
        yield from self._decoded((low, self.order.rows(positions[low : low + batch_size])) for low in begins)

    def _decoded(self, cuts: Iterable[tuple[int, Array]]) -> Iterator[Batch]:
        """Yield the batch of each start and rows, while those after it are being decoded."""
        if self._shape is None:
            self._shape = self._pixels(0).shape  # of files whose preset declares none, the first one's
        begun: deque[tuple[Batch, list[Future[None]]]] = deque()
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="milepost-images")
        try:
            for start, rows in cuts:
                begun.append(self._begin(pool, start, rows, self._shape))
                depth = max(1, -(-2 * self._workers // len(rows)))
                if len(begun) > depth:
                    yield _finished(*begun.popleft())
            while begun:
                yield _finished(*begun.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(
        self, pool: ThreadPoolExecutor, start: int, rows: Array, shape: tuple[int, ...]
    ) -> tuple[Batch, list[Future[None]]]:
        """Return a batch whose images are being decoded into its inputs."""
        dtype = np.uint8 if self.preset.values == "raw" else np.float32
        inputs = np.empty((len(rows), *shape), dtype)
        tasks = [pool.submit(self._decode, row, inputs[place]) for place, row in enumerate(rows.tolist())]
        ids = np.array([self._files[row] for row in rows.tolist()])
        groups = None if self._groups is None else self._groups[rows]
        return Batch(inputs, self._labels[rows], None, None, ids, cut(self._slices, rows), groups, start, rows), tasks

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

    def _path(self, row: int) -> str:
        return os.path.join(self._folder, *self._files[row].split("/"))

    def _content(self) -> str:
        with ThreadPoolExecutor(self._workers) as pool:
            sums = list(pool.map(_checksum, map(self._path, range(self.size))))
        return digest([[file, *found] for file, found in zip(self._files, sums, strict=True)])


def _finished(batch: Batch, tasks: list[Future[None]]) -> Batch:
    for task in tasks:
        task.result()
    return batch


def _workers(workers: int | None) -> int:
    if workers is None:
        allowed = getattr(os, "sched_getaffinity", None)
        return min(16, len(allowed(0)) if allowed is not None else os.cpu_count() or 1)
    if workers < 1:
        raise UsageError(f"workers is {workers}; expected 1 or more threads")
    return workers


def _checksum(path: str) -> tuple[int, int]:
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
        raise DataError(f"has pixels of mode {image.mode}; expected 8 bits a channel: convert the file first")
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
    """Write pixels into a row of the batch, scaled by the preset, in float32 step by step as torchvision does."""
    if preset.values == "raw":
        out[...] = pixels
        return
    np.divide(pixels, np.float32(255), out=out, dtype=np.float32)
    if preset.mean is not None and preset.std is not None:
        axes = (-1, 1, 1) if preset.layout == "NCHW" else (1, 1, -1)
        out -= np.array(preset.mean, np.float32).reshape(axes)
        out /= np.array(preset.std, np.float32).reshape(axes)
