"""Channels and classes by name: exact, by any case or synonym, or refused with the names that share its words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .checks import either, nearest


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
