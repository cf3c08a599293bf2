"""Several attributions side by side: a figure to look at, and a picture to save."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from ..checks import as_count, as_list, shown
from ..result import Result
from .plotting import figure_of, present, title_of
from .result import Attribution, sheet_of

if TYPE_CHECKING:
    from .figure import MapFigure

MOST_COLUMNS = 7


def compare(
    attributions: Sequence[Attribution], kind: str = "overlay", sign: str = "positive", columns: int | None = None
) -> MapFigure:
    """Show a figure of several attributions of the same images side by side, as ``Attribution.show``; return it.

    Args:
        attributions: by several methods, or for several targets.
        kind: as for ``Attribution.show``.
        sign: as for ``Attribution.heatmap``.
        columns: pictures in a row; by default a row for each image, or several of at most seven pictures.

    Returns:
        A matplotlib figure, with ``save(path)`` beside matplotlib's own ``savefig``.

    Raises:
        ValueError: no attributions, different numbers of images, or an unknown choice.
        ImportError: matplotlib is not installed.
    """
    given = as_list("attributions", attributions, "a list of attributions")
    if not given or not all(isinstance(one, Attribution) for one in given):
        raise ValueError(f"nothing to compare: give at least one attribution, not {shown(attributions)}")
    if len({len(one) for one in given}) > 1:
        raise ValueError(f"attributions of {', '.join(str(len(one)) for one in given)} images: give the same images")
    lines = math.ceil(len(given) / MOST_COLUMNS)
    columns = math.ceil(len(given) / lines) if columns is None else as_count("columns", columns)
    layers = len({one.layer for one in given}) > 1
    drawn = [one.drawn(kind, sign) for one in given]
    rows: list[list[tuple[Tensor, str]]] = []
    for i in range(len(given[0])):
        cells = [
            (pictures[i], title_of(one.method, ", ".join(one.layer) if layers else "", one.target.titles[i]))
            for one, pictures in zip(given, drawn, strict=True)
        ]
        rows.extend(cells[start : start + columns] for start in range(0, len(cells), columns))
    figure = figure_of(rows)
    present(figure)
    return figure


class Comparison(Result):
    """Attributions of single images in one picture to save: a row for each image, a column for each method.

    Attributes:
        rows: for each image its attributions, as many for each. If there is one for each, they are arranged in a grid.
    """

    def __init__(self, rows: Sequence[Sequence[Attribution]]) -> None:
        self.rows = rows
        self.attributions = [one for row in rows for one in row]
        self.settings = {"of": [one.settings for one in self.attributions]}

    def save(self, path: str | os.PathLike[str], **how: Any) -> Path:
        """Save the picture; ``how`` is as for ``Attribution.save``, and as it raises."""
        return self._write(path, **how)

    def sheet(self, **how: Any) -> Image.Image:
        """The picture; arguments as for ``Attribution.save``."""
        columns = len(self.rows[0])
        return sheet_of(self.attributions, columns if columns > 1 else None, **how)

    def encoded(self, ending: str) -> bytes:
        """There are no files but pictures."""
        raise ValueError(f"several attributions are saved as a picture, not as {ending}")

    def facts(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Labels and scores."""
        facts = [one.facts()[0] for one in self.attributions]
        return {key: [value for fact in facts for value in fact[key]] for key in ("labels", "scores")}, {}
