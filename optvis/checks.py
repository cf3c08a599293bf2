"""Sizes and counts as users give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Size = tuple[int, int]
"""(height, width) in pixels."""


def as_size(size: int | Sequence[int]) -> Size:
    """(height, width) from a number or a pair; raises ``ValueError`` on anything else."""
    pair: Any = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in pair):
        raise ValueError(f"size {size!r}: give a number of pixels, or (height, width), both whole and positive")
    return pair


def as_pair(value: int | Sequence[int]) -> tuple[int, int]:
    """For height and width, as torch takes strides and the like: a number, one in a list, or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def as_count(name: str, value: int) -> int:
    """``value``; raises ``ValueError``, naming it, on anything but a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} {value!r}: give a whole number of at least 1")
    return value
