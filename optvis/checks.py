"""Checks of arguments, and "did you mean": every error names the argument, its value and valid choices.

Errors show values by ``repr``, so that control characters in them do not reach the terminal.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeVar

T = TypeVar("T")
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
    pair = [whole(one) or 0 for one in (given if isinstance(given, (tuple, list)) else (given, given))]
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"size {shown(size)}: give a number of pixels, or (height, width), both whole and positive")
    if pair[0] * pair[1] > MOST_PIXELS:
        raise ValueError(
            f"size {shown(size)}: give a number of pixels, or (height, width), of at most {MOST_PIXELS} pixels in all "
            "(16384 × 16384)"
        )
    return pair[0], pair[1]


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
        raise ValueError(f"{name} {shown(value)}: give a whole number of at least {low}")
    if number > high:
        raise ValueError(f"{name} {shown(value)}: give a whole number of at most {high}")
    return number


def as_number(
    name: str, value: Any, low: float | None = None, high: float | None = None, ends: str = "[]", kind: str = "a number"
) -> float:
    """``value`` as a ``float``; raises ``ValueError``, naming it, on anything but a number of this range.

    NaN, infinity, ``bool`` and what float32 cannot hold are refused. ``ends`` says whether ``low`` and ``high``, if
    given, belong to the range, in interval notation: ``"(]"`` excludes ``low``. ``kind`` is what the error asks for.
    """
    number = real(value)
    if number is not None and abs(number) <= FLOAT32_MAX:
        above = low is None or number > low or (number == low and ends[0] == "[")
        below = high is None or number < high or (number == high and ends[1] == "]")
        if above and below:
            return number
    elif number is not None or (low is None and high is None):
        kind = kind.replace("a number", "a finite number")
    limits = ("" if low is None else ends[0]) + ("" if high is None else ends[1])
    raise ValueError(f"{name} {shown(value)}: give {kind}{_LIMITS[limits].format(low, high)}")


_LIMITS = {
    "": "",
    "[": " of at least {0:g}",
    "(": " above {0:g}",
    "]": " of at most {1:g}",
    ")": " below {1:g}",
    "[]": " from {0:g} to {1:g}",
    "[)": " from {0:g} to below {1:g}",
    "(]": " above {0:g} and up to {1:g}",
    "()": " above {0:g} and below {1:g}",
}


def as_seeds(seed: Any, count: int) -> tuple[int, ...]:
    """A seed for each of ``count`` pictures: consecutive numbers from the given one, or the given list."""
    seeds = _plain(seed)
    if not isinstance(seeds, (list, tuple, range)):
        first = as_whole("seed", seeds, -(2**63), 2**63 - count)
        return tuple(range(first, first + count))
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds for {count} pictures: give one for each, or the first alone")
    return tuple(as_whole("seed", one, -(2**63), 2**63 - 1) for one in seeds)


def as_flag(name: str, value: Any) -> bool:
    """``value`` as a ``bool``; raises ``ValueError``, naming it, on anything but True, False, 1 and 0."""
    given = _plain(value)
    if isinstance(given, (bool, int)) and given in (0, 1):
        return bool(given)
    raise ValueError(f"{name} {shown(value)}: give True or False")


def as_function(name: str, value: Any, what: str) -> Callable[..., Any]:
    """``value``; raises ``TypeError``, naming it, where it cannot be called; ``what`` says what it should be."""
    if not callable(value):
        raise TypeError(f"{name} {shown(value)}: give {what}")
    return value  # type: ignore[no-any-return]


def as_kind(value: T, kind: type | tuple[type, ...], what: str) -> T:
    """``value``; raises ``TypeError`` on another type, ``what`` says what it should be."""
    if not isinstance(value, kind):
        raise TypeError(f"{what}, not {shown(value)}")
    return value


def as_numbers(name: str, values: Any, count: int, of: str) -> tuple[float, ...]:
    """``count`` finite numbers from a list of as many or from one for all; ``of`` is what they belong to."""
    given = _plain(values)
    several = isinstance(given, (list, tuple, range))
    numbers: list[Any] = [real(one) for one in (given[:MOST] if several else [given] * count)]
    if None in numbers:
        raise TypeError(f"{name} {shown(values)}: give a number, or one for each of {count} {of}")
    if len(numbers) != count:
        raise ValueError(f"{name} has {len(numbers)} values {shown(values)}, but the {of} are {count}")
    if not all(abs(one) <= FLOAT32_MAX for one in numbers):
        raise ValueError(f"{name} must be finite for each of {count} {of}, not {shown(values)}: give {name}=")
    return tuple(numbers)


def as_list(name: str, values: Any, what: str, most: int = MOST) -> list[Any]:
    """A list of at most ``most`` values from any iterable but a text or mapping; the error asks for ``what``."""
    if not is_list(values):
        raise ValueError(f"{name} {shown(values)}: give {what}")
    listed = list(itertools.islice(values, most + 1))
    if len(listed) > most:
        raise ValueError(f"{name} {shown(values)}: there are more than {most:,}; give {what}")
    return listed


def is_list(values: Any) -> bool:
    """True for what can be iterated, apart from texts and mappings."""
    texts = isinstance(values, (str, bytes, Mapping))
    return not texts and hasattr(values, "__iter__") and getattr(values, "ndim", 1) != 0


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
    raise ValueError(f"no {what} {shown(value)}: {nearest(value, known)}")


def nearest(value: Any, choices: Iterable[str], otherwise: str | None = None, cutoff: float = 0.4) -> str:
    """The end of an error: ``"did you mean 'a' or 'b'?"``, at most three choices with a similarity above ``cutoff``.

    If none is near, it is ``otherwise``, by default a list of the choices.
    """
    known = list(choices)
    near = difflib.get_close_matches(str(value), known, n=3, cutoff=cutoff)
    if near:
        return f"did you mean {either(near)}?"
    if otherwise is not None:
        return otherwise
    more = ", …" if len(known) > 20 else ""
    return f"choose one of {', '.join(map(repr, known[:20]))}{more}" if known else "there is nothing to choose from"


def either(names: Iterable[object]) -> str:
    """The names as ``"'a' or 'b'"``."""
    return " or ".join(map(repr, names))


def _plain(value: Any) -> Any:
    """A Python number for a NumPy number or an array or tensor without axes; a list for one with a single axis."""
    axes = getattr(value, "ndim", None)
    return value.tolist() if isinstance(axes, int) and axes < 2 and hasattr(value, "tolist") else value


def shown(value: Any) -> str:
    """A value for an error: its ``repr`` on one line, cut where it is long."""
    text = repr(_plain(value)).replace("\n", " ")
    return text if len(text) <= 200 else f"{text[:200]}…"
