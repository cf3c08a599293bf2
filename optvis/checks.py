"""Checks of arguments, and "did you mean": every error names the argument, its value and valid choices.

Errors show values by ``repr``, so that control characters in them do not reach the terminal.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

Size = tuple[int, int]
"""(height, width) in pixels."""

MOST_PIXELS = 2**28
"""The largest number of pixels of an image: 16384 × 16384."""
MOST = 1_000_000
"""The largest count, of pictures for example."""
FLOAT32_MAX = 3.4028234663852886e38


def as_size(size: int | Sequence[int]) -> Size:
    """(height, width) from a number or a pair; raises ``ValueError`` on anything else."""
    given = _plain(size)
    pair = tuple(map(whole, given if isinstance(given, (tuple, list)) else (given, given)))
    if len(pair) != 2 or any(n is None or n < 1 for n in pair):
        raise ValueError(f"size {_shown(size)}: give a number of pixels, or (height, width), both whole and positive")
    height, width = pair
    if height * width > MOST_PIXELS:  # type: ignore[operator]
        raise ValueError(
            f"size {_shown(size)}: give a number of pixels, or (height, width), of at most {MOST_PIXELS} pixels in all "
            "(16384 × 16384)"
        )
    return pair  # type: ignore[return-value]


def as_pair(value: int | Sequence[int]) -> tuple[int, int]:
    """The values for height and width from what torch takes as stride or padding: a number, or a list of one or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def as_count(name: str, value: Any, most: int = MOST) -> int:
    """``value`` as an ``int``; raises ``ValueError``, naming it, on anything but a whole number from 1 to ``most``."""
    return as_whole(name, value, 1, most)


def as_whole(name: str, value: Any, low: int, high: int) -> int:
    """``value`` as an ``int``; raises ``ValueError``, naming it, on anything but a whole number of this range.

    NumPy integers and arrays or tensors without axes count as whole numbers, ``bool`` does not.
    """
    number = whole(value)
    if number is None or number < low:
        raise ValueError(f"{name} {_shown(value)}: give a whole number of at least {low}")
    if number > high:
        raise ValueError(f"{name} {_shown(value)}: give a whole number of at most {high}")
    return number


def as_number(
    name: str, value: Any, low: float | None = None, high: float | None = None, ends: str = "[]", kind: str = "a number"
) -> float:
    """``value`` as a ``float``; raises ``ValueError``, naming it, on anything but a number of this range.

    NaN, infinity, ``bool`` and what float32 cannot hold are refused.

    Args:
        name: of the argument.
        value: its value.
        low: the smallest value; ``None`` for any.
        high: the largest value; ``None`` for any.
        ends: whether the limits belong to the range, in interval notation: ``"(]"`` excludes ``low``.
        kind: what the error asks for.
    """
    number = real(value)
    if number is not None and abs(number) <= FLOAT32_MAX:
        above = low is None or number > low or (number == low and ends[0] == "[")
        below = high is None or number < high or (number == high and ends[1] == "]")
        if above and below:
            return number
    elif number is not None or (low is None and high is None):
        kind = kind.replace("a number", "a finite number")
    raise ValueError(f"{name} {_shown(value)}: give {kind}{_within(low, high, ends)}")


def as_seeds(seed: Any, count: int) -> tuple[int, ...]:
    """A seed for each of ``count`` pictures: consecutive numbers from the given one, or the given list.

    Raises:
        ValueError: a seed that is not a whole number from -2^63 to 2^63 - 1, or not ``count`` seeds.
    """
    seeds = _plain(seed)
    if not isinstance(seeds, (list, tuple, range)):
        first = as_whole("seed", seeds, -(2**63), 2**63 - count)
        return tuple(range(first, first + count))
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds for {count} pictures: give one for each, or the first alone")
    return tuple(as_whole("seed", one, -(2**63), 2**63 - 1) for one in seeds)


def whole(value: Any) -> int | None:
    """An ``int`` from a whole number, also of NumPy or in an array or tensor without axes; otherwise ``None``."""
    value = _plain(value)
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None


def real(value: Any) -> float | None:
    """A ``float`` from a number, also of NumPy or in an array or tensor without axes; otherwise ``None``."""
    value = _plain(value)
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def choice(what: str, value: Any, choices: Iterable[str]) -> str:
    """``value`` if it is one of the choices; otherwise raises ``ValueError`` with the nearest."""
    known = list(choices)
    if isinstance(value, str) and value in known:
        return value
    raise ValueError(f"no {what} {_shown(value)}: {nearest(value, known)}")


def nearest(value: Any, choices: Iterable[str], otherwise: str | None = None, cutoff: float = 0.4) -> str:
    """The end of an error: ``"did you mean 'a' or 'b'?"``, at most three names.

    Args:
        value: the invalid value.
        choices: the valid ones.
        otherwise: the text if no choice is near; by default it lists the choices.
        cutoff: the least similarity of a near choice, from 0 to 1.
    """
    known = list(choices)
    near = difflib.get_close_matches(str(value), known, n=3, cutoff=cutoff)
    if near:
        return f"did you mean {either(near)}?"
    if otherwise is not None:
        return otherwise
    more = ", …" if len(known) > 20 else ""
    return f"choose one of {', '.join(map(repr, known[:20]))}{more}" if known else "there is nothing to choose from"


def either(names: Iterable[str]) -> str:
    """The names as ``"'a' or 'b'"``."""
    return " or ".join(map(repr, names))


def _plain(value: Any) -> Any:
    """A Python number for a NumPy number or an array or tensor without axes; a list for one with a single axis."""
    axes = getattr(value, "ndim", None)
    return value.tolist() if isinstance(axes, int) and axes < 2 and hasattr(value, "tolist") else value


def _within(low: float | None, high: float | None, ends: str) -> str:
    if low is not None and high is not None:
        start = f" from {low:g} " if ends[0] == "[" else f" above {low:g} and up "
        return f"{start}to {high:g}" if ends[1] == "]" else f"{start}to below {high:g}"
    if low is not None:
        return f" of at least {low:g}" if ends[0] == "[" else f" above {low:g}"
    if high is not None:
        return f" of at most {high:g}" if ends[1] == "]" else f" below {high:g}"
    return ""


def _shown(value: Any) -> str:
    text = repr(_plain(value)).replace("\n", " ")
    return text if len(text) <= 200 else f"{text[:200]}…"
