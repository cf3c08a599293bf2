"""The arguments of the command line: their types, and texts read as sizes, channels, classes and seeds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from .attribution.plotting import KINDS
from .checks import MOST, choice
from .files import expanded
from .images import MAX_PIXELS, open_image
from .terminal import current
from .zoo import FORMS

MAX_SEED = 2**62

PHOTOGRAPHS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Endings of the files that are taken from a folder of pictures."""


class Kind(str, Enum):
    """What is optimised."""

    fourier = "fourier"
    pixel = "pixel"
    cppn = "cppn"


class Augmentation(str, Enum):
    """The transforms of an image before the network sees it."""

    standard = "standard"
    none = "none"


def _quieten(quiet: bool) -> bool:
    current().quiet |= quiet
    return quiet


Network = Annotated[str, typer.Argument(help=FORMS, metavar="NETWORK", show_default=False)]
Layer = Annotated[
    str | None,
    typer.Argument(help="LAYER, or LAYER:CHANNEL by number or name.", metavar="[LAYER]", show_default=False),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write: .png .webp .jpg .gif .npy")]
Weights = Annotated[Path | None, typer.Option(help="File of weights: .safetensors, or .pth of a state dict.")]
Names = Annotated[Path | None, typer.Option(help="File of the names of the outputs: one in each line, or .json.")]
Mean = Annotated[str | None, typer.Option(help="Mean by which images are normalised: 0.5, or 0.485,0.456,0.406.")]
Std = Annotated[str | None, typer.Option(help="Standard deviation, likewise.")]
Size = Annotated[str | None, typer.Option(help="Pixels: 224, or HEIGHTxWIDTH.")]
Steps = Annotated[int | None, typer.Option(help="Number of steps.", min=1, max=MOST)]
Rate = Annotated[float, typer.Option("--lr", help="Learning rate.")]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.", min=0, max=MAX_SEED)]
Seeds = Annotated[str, typer.Option("--seed", help="Seed of all random numbers; several make several pictures: 0,1,2.")]
Transforms = Annotated[Augmentation, typer.Option(help="Random changes to the image at each step.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps, ...")]
Precision = Annotated[str, typer.Option(help="Precision of the network: auto, fp32, bf16 or fp16.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the step: takes a minute or two, later steps are faster.")
]
Tile = Annotated[
    int | None, typer.Option(help="Largest tile, in pixels, that the network sees at once.", min=1, max=MOST)
]
Batch = Annotated[int | None, typer.Option(help="Pictures at once; fewer if memory runs out.", min=1, max=MOST)]
NetworkSize = Annotated[
    str | None, typer.Option("--size", help="Pixels at which the network sees the pictures: 224, or HEIGHTxWIDTH.")
]
MapKind = Annotated[str, typer.Option("--kind", help="overlay, heat-map, masked, blended or original.")]
Sign = Annotated[str, typer.Option(help="Parts of the map: positive, negative, absolute or all.")]
Alpha = Annotated[float | None, typer.Option(help="Opacity of overlays, 0 to 1.", min=0, max=1)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_quieten, help="Print nothing but warnings and errors.")]


def as_size(text: str | None) -> Any:
    """Pixels, or (height, width), from ``224`` or ``120x160``; raises ``ValueError`` on anything else."""
    if text is None:
        return None
    sides = [_number(part) for part in text.lower().split("x")]
    if not all(sides) or len(sides) > 2:
        raise ValueError(f"size {text!r}: give pixels, as 224, or HEIGHTxWIDTH, as 120x160")
    height, width = sides[0], sides[-1]
    if height * width > MAX_PIXELS:  # type: ignore[operator]
        raise ValueError(f"size {text!r}: a picture has at most {MAX_PIXELS:,} pixels")
    return height if len(sides) == 1 else (height, width)


def as_pictures(paths: Sequence[str]) -> list[str]:
    """Image files, with folders replaced by the image files in them, sorted.

    Raises:
        ValueError: a folder without images, or a file that is no image.
        FileNotFoundError: there is no such file.
    """
    found: list[str] = []
    for path in paths:
        folder = expanded(path)
        if folder.is_dir():
            inside = sorted(str(file) for file in folder.iterdir() if file.suffix.lower() in PHOTOGRAPHS)
            if not inside:
                raise ValueError(f"folder {path!r} holds no images: their endings are {', '.join(PHOTOGRAPHS)}")
            found += inside
        else:
            found.append(path)
    for path in found:
        with open_image(path):
            pass
    return found


def as_kind(text: str) -> str:
    """A kind of picture of an attribution; hyphens may stand for spaces."""
    return choice("kind", text.replace("-", " "), KINDS)


def normalisation(mean: str | None, std: str | None) -> dict[str, Any]:
    """The arguments ``mean`` and ``std``: numbers, lists from texts such as ``0.485,0.456,0.406``, or ``None``.

    Raises:
        ValueError: a text that is neither.
    """
    return {"mean": _values("mean", mean), "std": _values("std", std)}


def _values(name: str, text: str | None) -> float | list[float] | None:
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{name} {text!r}: give a number, or one for each channel with commas between") from None
    return values[0] if len(values) == 1 else values


def as_numbers(name: str, text: str, otherwise: str = "") -> list[int]:
    """Whole numbers from ``0-15,20``.

    Raises:
        ValueError: anything else, or more than a million numbers; ``otherwise`` ends the message.
    """
    ranges: list[range] = []
    for part in text.split(","):
        first, dash, last = (side.strip() for side in part.partition("-"))
        start, end = _number(first), _number(last if dash else first)
        if start is None or end is None or end < start:
            raise ValueError(f"{name} {text!r}: give numbers and ranges, as 0-15,20{otherwise}")
        ranges.append(range(start, end + 1))
    count = sum(one.stop - one.start for one in ranges)  # len() fails above sys.maxsize
    if count > MOST:
        raise ValueError(f"{name} {text!r}: these are {count:,}, at most {MOST:,} can be drawn")
    return [number for one in ranges for number in one]


def as_classes(text: str) -> tuple[int | str, ...]:
    """Classes from numbers and ranges, ``0-15,20``, or names with commas between."""
    if any(part.strip()[:1].isdigit() for part in text.split(",")):
        return tuple(as_numbers("classes", text, ", or names"))
    return tuple(part.strip() for part in text.split(","))


def as_channels(address: str) -> tuple[str, list[int]] | None:
    """Layer and channels from ``features/12:0-3,7``; ``None`` for an address of a layer or of one channel."""
    layer, _, channels = address.partition(":")
    return (layer, as_numbers("channels", channels)) if re.fullmatch(r"[\d\s]+[-,][-,\d\s]+", channels) else None


def _number(text: str) -> int | None:
    """A whole number of at least 0 from ASCII digits; ``None`` for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else None
