"""Texts of the command line read as sizes, numbers, channels, classes and layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..attribution.plotting import KINDS
from ..checks import MOST, choice
from ..images import MAX_PIXELS


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


def as_kind(text: str) -> str:
    """A kind of picture of an attribution; hyphens may stand for spaces."""
    return choice("kind", text.replace("-", " "), KINDS)


def as_floats(name: str, text: str | None) -> float | list[float] | None:
    """A number, or a list from a text such as ``0.485,0.456,0.406``; raises ``ValueError`` on anything else."""
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


def as_numbers_or_names(name: str, texts: Sequence[str]) -> tuple[int | str, ...]:
    """Numbers and ranges, ``0-15,20``, or names, as ``as_names``."""
    joined = ",".join(texts)
    if any(part.strip()[:1].isdigit() for part in joined.split(",")):
        return tuple(as_numbers(name, joined, ", or names"))
    return as_names(texts)


def as_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Several texts as they are, which may contain commas; a single one is divided at its commas."""
    return tuple(texts) if len(texts) > 1 else tuple(part.strip() for part in texts[0].split(","))


def as_channels(address: str) -> tuple[str, list[int]] | None:
    """Layer and channels from ``features/12:0-3,7``; ``None`` for an address of a layer or of one channel."""
    layer, _, channels = address.partition(":")
    return (layer, as_numbers("channels", channels)) if re.fullmatch(r"[\d\s]+[-,][-,\d\s]+", channels) else None


def _number(text: str) -> int | None:
    """A whole number of at least 0 from ASCII digits; ``None`` for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else None
