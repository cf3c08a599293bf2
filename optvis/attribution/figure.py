"""A figure of matplotlib that saves itself as results do; imported only where matplotlib is wanted."""

from __future__ import annotations

import io
import os
from pathlib import Path

from matplotlib.figure import Figure

from ..files import check_path, write_whole

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".pdf", ".svg")


class MapFigure(Figure):
    """A ``matplotlib.figure.Figure`` with ``save``."""

    def save(self, path: str | os.PathLike[str], dpi: float | None = None) -> Path:
        """Save the figure. The file is written completely or not at all.

        Args:
            path: one of ``ENDINGS``.
            dpi: pixels per inch; by default those of the figure.

        Raises:
            ValueError: another ending.
            OSError: the path cannot be written.
        """
        path, data = check_path(path, ENDINGS), io.BytesIO()
        self.savefig(data, format=path.suffix[1:].lower(), dpi="figure" if dpi is None else dpi)
        write_whole(path, data.getvalue())
        return path
