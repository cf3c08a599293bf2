"""The index page of a folder of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote

REFRESH = 20
"""Seconds after which a browser loads the page again while the training runs."""

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.note { opacity: .7; }
.strip { display: flex; gap: 10px; overflow-x: auto; padding-bottom: 8px; align-items: flex-end; }
figure { margin: 0; flex: none; } figcaption { text-align: center; opacity: .7; font-size: 13px; }
.strip img { height: 150px; display: block; } .latest { max-width: 100%; max-height: 520px; min-height: 150px; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; }
"""


@dataclass
class Row:
    """What the page shows of one view.

    Attributes:
        title: of the view.
        name: of its folder.
        settings: of the latest picture, as JSON text.
        pictures: paths of the pictures by training step.
        films: paths of the files of a film.
    """

    title: str
    name: str
    settings: str = ""
    pictures: dict[int, str] = field(default_factory=dict)
    films: list[str] = field(default_factory=list)


def page(rows: Sequence[Row], report: str, runs: bool) -> str:
    """The page as HTML.

    Args:
        rows: the views.
        report: how long drawing took.
        runs: True if the training still runs: the browser then loads the page again from time to time.
    """
    refresh = f'<meta http-equiv="refresh" content="{REFRESH}">' if runs else ""
    note = "The training runs; this page loads itself again." if runs else f"Share of the training time: {report}."
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{refresh}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>A network learns</title><style>{_STYLE}</style></head><body><h1>A network learns</h1>"
        f'<p class="note">{escape(note)}</p>{"".join(map(_section, rows))}</body></html>\n'
    )


def _section(row: Row) -> str:
    body = "".join(map(_film, row.films[:1]))
    if len(row.films) > 1:
        body += f"<p>{', '.join(map(_link, row.films))}</p>"
    steps = sorted(row.pictures)
    if steps:
        latest = quote(row.pictures[steps[-1]])
        body += f'<p><a href="{latest}"><img class="latest" src="{latest}"{_alt(row.title)}></a></p>'
    if len(steps) > 1:
        body += f'<div class="strip">{"".join(_thumbnail(step, row) for step in steps)}</div>'
    if row.settings:
        body += f"<details><summary>settings</summary><pre>{escape(row.settings)}</pre></details>"
    latest_step = f' <span class="note">{steps[-1]}</span>' if steps else ""
    return f"<section><h2>{escape(row.title)}{latest_step}</h2>{body}</section>"


def _film(path: str) -> str:
    if path.endswith(".mp4"):
        return f'<p><video class="latest" src="{quote(path)}" controls loop muted></video></p>'
    return f'<p><img class="latest" src="{quote(path)}"{_alt(path)}></p>'


def _link(path: str) -> str:
    return f'<a href="{quote(path)}">{escape(path)}</a>'


def _thumbnail(step: int, row: Row) -> str:
    path = quote(row.pictures[step])
    image = f'<img loading="lazy" src="{path}"{_alt(f"{row.title}, {step}")}>'
    return f'<figure><a href="{path}">{image}</a><figcaption>{step}</figcaption></figure>'


def _alt(text: str) -> str:
    return f' alt="{escape(text, quote=True)}"'
