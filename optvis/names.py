"""Names of channels and classes: where they come from, and how one is found."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from .checks import as_list, as_whole, either, nearest
from .files import expanded
from .text import printable

Names = Sequence[str] | Mapping[int, str] | str | PathLike[str]


def as_names(names: Names, outputs: int | None = None) -> tuple[str, ...]:
    """The names of a network's outputs, in their order.

    Args:
        names: a list; a dictionary from numbers to names, in which an output without a name keeps its number; or a
            file of names: one of these as ``.json``, or else a name in each line.
        outputs: how many there are, where known.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no names, there is not one for each output, or a number is no output's.
    """
    holder = ""
    if isinstance(names, (str, PathLike)):
        holder, names = f"{str(names)!r} holds ", _read(names)
    if isinstance(names, Mapping):
        known = {as_whole("the number of a name", _number(i), 0, (outputs or 2**31) - 1): n for i, n in names.items()}
        listed = [str(known.get(i, i)) for i in range(outputs or max(known, default=-1) + 1)]
    else:
        listed = [str(one) for one in as_list("names", names, "a list of the names of the outputs")]
    if not listed or outputs not in (None, len(listed)):
        raise ValueError(f"{holder}{len(listed)} names for {outputs} outputs: give one name for each output")
    return tuple(listed)


def _read(path: str | PathLike[str]) -> Any:
    file = expanded(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file of names {str(file)!r}")
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix != ".json":
            return [line.strip() for line in text.rstrip("\n").splitlines()]
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{str(file)!r} holds no names: {printable(error)}") from error
    if not isinstance(found, (list, dict)):
        raise ValueError(f"{str(file)!r} holds no names: give a list, or an object from numbers to names")
    return found


def _number(key: Any) -> Any:
    """The key of a dictionary of names: JSON has only texts."""
    return int(key) if isinstance(key, str) and key.isdecimal() else key


def index_of(name: str, names: Sequence[str], what: str) -> int:
    """The index of a name.

    A name matches if it is equal to one of ``names``, or else, in any case, to one or to a synonym in it, which are
    separated by commas (``bald eagle, American eagle``).

    Args:
        name: what is looked for.
        names: of all channels or classes.
        what: begins the error: ``"layer 'head' has no channel named 'dog'"``.

    Raises:
        ValueError: no or several channels of that name; the message lists the candidates.
    """
    found = [i for i, one in enumerate(names) if one == name]
    if not found:
        found = [i for i, one in enumerate(names) if name.lower() in (one.lower(), *re.split(r",\s*", one.lower()))]
    if len(found) == 1:
        return found[0]
    if found:
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        raise ValueError(f"several channels or classes are named {name!r}: give a number, {either(found[:8])}{more}")
    alike = [i for i, one in enumerate(names) if _words(name) and _words(name) <= _words(one)]
    if alike:
        more = f" and {len(alike) - 8} more" if len(alike) > 8 else ""
        listed = ", ".join(f"{names[i]!r} ({i})" for i in alike[:8])
        raise ValueError(f"{what}: did you mean {listed}{more}?")
    raise ValueError(f"{what}: {nearest(name, names, f'the names begin with {either(names[:5])}')}")


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
