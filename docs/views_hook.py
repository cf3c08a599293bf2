"""Writes the lists of views into the pages that ask for them, from the registry."""

from __future__ import annotations

from typing import Any

from optvis import VIEWS


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace ``<!-- table of views -->`` and ``<!-- reference of views -->``."""
    kinds = sorted(VIEWS.values(), key=lambda kind: kind.name)
    rows = ["| view and command | function | shows |", "|---|---|---|"]
    rows += [f"| `{kind.name}` | `{kind.function.__name__}` | {kind.summary} |" for kind in kinds]
    entries = [f"::: {kind.function.__module__}.{kind.function.__name__}" for kind in kinds if kind.name != "attribute"]
    markdown = markdown.replace("<!-- table of views -->", "\n".join(rows))
    return markdown.replace("<!-- reference of views -->", "\n".join(entries))
