"""Text for the terminal."""

from __future__ import annotations


def printable(text: object) -> str:
    """``str(text)`` with control characters, invisible ones and line breaks escaped as ``repr`` escapes them.

    Layer names, file names and the errors of other libraries may hold terminal escape sequences. Printed as they are,
    they could move the cursor, hide text or rename the window.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
