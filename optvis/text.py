"""Escaping of text for the terminal."""

from __future__ import annotations


def printable(text: object) -> str:
    """``str(text)`` with control characters, invisible characters and line breaks escaped as by ``repr``.

    Layer names, file names and errors of other libraries may contain terminal escape sequences, which could move the
    cursor, hide text or rename the window.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
