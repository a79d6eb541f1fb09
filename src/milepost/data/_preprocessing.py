"""What is done to an image between its file and the model, declared by name and recorded with the data."""

from dataclasses import dataclass, replace
from typing import Literal, TypedDict, get_args

from milepost.errors import UsageError

Mode = Literal["RGB", "BGR", "L"]
Layout = Literal["NCHW", "NHWC"]
Values = Literal["raw", "unit"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "lanczos"]
Side = int | tuple[int, int] | None

_CHOICES = {"interpolation": Interpolation, "values": Values, "mode": Mode, "layout": Layout}


class PresetOptions(TypedDict, total=False):
    """Parameters of a preset that a source declares otherwise."""

    resize: Side
    crop: Side
    interpolation: Interpolation
    values: Values
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    mode: Mode
    layout: Layout
    exif: bool


def _check_side(field: str, side: Side) -> None:
    sides = (1,) if side is None else (side,) if isinstance(side, int) else tuple(side)
    whole = all(type(item) is int and item >= 1 for item in sides)
    if not whole or (isinstance(side, tuple | list) and len(sides) != 2):  # noqa: PLR2004 - height and width
        raise UsageError(f"{field} is {side!r}; expected a side of 1 or more, (height, width), or None")


@dataclass(frozen=True, slots=True)
class Preset:
    """How an image becomes rows of numbers; every field is part of the data's fingerprint.

    In this order: turned by its EXIF orientation (`exif`), converted to `mode`, resized (`resize`: length of the
    shorter side, the longer one rounded down; or (height, width)), cropped about its centre (`crop`: a side, or
    (height, width); an odd rest is halved and rounded to even). `values="raw"` keeps bytes (uint8); "unit" divides them
    by 255 (float32), after which `mean` is subtracted and the result divided by `std`, one number a channel. Resizing
    widens its filter when it shrinks (antialias).

    >>> replace(PRESETS["imagenet"], resize=342, crop=299).shape
    (3, 299, 299)
    """

    name: str = "own"
    resize: Side = None
    crop: Side = None
    interpolation: Interpolation = "bilinear"
    values: Values = "unit"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    mode: Mode = "RGB"
    layout: Layout = "NCHW"
    exif: bool = False

    def __post_init__(self) -> None:
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in get_args(choices):
                raise UsageError(f"{field} is {getattr(self, field)!r}; expected one of {', '.join(get_args(choices))}")
        for field in ("resize", "crop"):
            _check_side(field, getattr(self, field))
        if (self.mean is None) != (self.std is None):
            raise UsageError("mean and std are declared together; found only one of them")
        for field in ("mean", "std"):
            object.__setattr__(self, field, self._channelwise(field, getattr(self, field)))
        if self.std is not None and min(self.std) <= 0:
            raise UsageError(f"std is {self.std}; expected numbers above 0")

    @property
    def channels(self) -> int:
        return 1 if self.mode == "L" else 3

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of one image's row; None where it is that of the files."""
        side = self.crop if self.crop is not None else self.resize if isinstance(self.resize, tuple) else None
        if side is None:
            return None
        height, width = pair(side)
        return (self.channels, height, width) if self.layout == "NCHW" else (height, width, self.channels)

    def _channelwise(self, field: str, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is None:
            return None
        numbers = tuple(float(item) for item in value)
        if self.values == "raw":
            raise UsageError(f'{field} is {numbers} with values="raw", which keeps bytes; declare values="unit"')
        if len(numbers) != self.channels:
            raise UsageError(f"{field} has {len(numbers)} numbers; mode {self.mode!r} has {self.channels} channels")
        return numbers


PRESETS = {
    "imagenet": Preset("imagenet", resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "unit": Preset("unit"),
    "raw": Preset("raw", values="raw"),
}
"""`imagenet` is what torchvision's classifiers were trained for; `unit` only divides by 255; `raw` is bytes."""


def preset_of(preset: str | Preset, changes: PresetOptions) -> Preset:
    """Return a preset by name, or as it is, with the parameters that are declared otherwise."""
    if isinstance(preset, str) and preset not in PRESETS:
        raise UsageError(f"preset is {preset!r}; expected one of {', '.join(PRESETS)}, or a Preset")
    unknown = sorted(changes.keys() - PresetOptions.__annotations__.keys())
    if unknown:
        raise UsageError(
            f"unknown parameter {', '.join(unknown)}; available: {', '.join(PresetOptions.__annotations__)}"
        )
    return replace(PRESETS[preset] if isinstance(preset, str) else preset, **changes)


def pair(side: int | tuple[int, int]) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else side
