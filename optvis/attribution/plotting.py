"""Drawing maps: scaling, colours, overlays, titles and figures."""

from __future__ import annotations

import io
import math
import os
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..checks import choice
from ..display import has_screen, notebook_display
from ..images import grid
from ..text import printable
from .inputs import Part

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from .figure import MapFigure

SIGNS = ("positive", "negative", "absolute", "all")
KINDS = ("heat map", "overlay", "original", "masked", "blended")
ENLARGED = 224
"""Saved pictures are enlarged, by a whole number, to at most this many pixels, unless they are larger."""
CLEAR = 0.1
"""Up to this fraction of its maximum a map is transparent."""
GROUND = 0.3
"""Contrast of the grey picture below maps as large as the image."""
INCHES = 2.8  # the width of a cell of a figure
SMOOTHING = 0.01
"""Standard deviation of the blur of maps as large as the image, as a fraction of its shorter side."""
CLIPPED = 1.0
"""Percentage of the strongest positions that are clipped when such a map is drawn."""
PLAIN = {"positive": "Greens", "negative": "Reds", "absolute": "Blues", "all": "PiYG"}
"""The colour map of such a map for each sign."""


def heat_of(values: Tensor, size: Sequence[int], sign: str, outliers: float = 0.0) -> Tensor:
    """``[N, H, W]``: the heat maps of signed values ``[N, C, h, w]``; see ``Attribution.heatmap``."""
    maps = values.sum(1, keepdim=True)
    if outliers:
        strengths = maps.abs().flatten(1)
        most = strengths.kthvalue(max(1, round(strengths.shape[1] * (1 - outliers / 100))), dim=1).values
        most = most.view(-1, 1, 1, 1)
        maps = torch.where(most > 0, maps.clamp(-most, most), maps)
    if sign == "all":
        greatest = maps.abs().amax((2, 3), keepdim=True)
        return resized(maps / torch.where(greatest == 0, 1, greatest), size)[:, 0].clamp(-1, 1)
    return stretched(resized(stretched(of_sign(maps, sign)), size))[:, 0]


def drawn_heat(values: Tensor, size: Sequence[int], sign: str, fine: bool) -> Tensor:
    """``[N, H, W]``: the heat maps as they are drawn.

    ``fine`` maps, as large as the image, change from pixel to pixel: they are smoothed, and their outliers clipped.
    """
    if not fine:
        return heat_of(values, size, sign)
    from kornia.filters import gaussian_blur2d

    sigma = SMOOTHING * min(values.shape[-2:]) * (2 if sign == "all" else 1)
    if sigma < 0.3:
        return heat_of(values, size, sign, CLIPPED)
    # The sign is chosen first: neighbours of opposite signs would cancel, as they do where both are drawn.
    maps = of_sign(values.sum(1, keepdim=True), sign)
    wide = 2 * math.ceil(3 * sigma) + 1
    maps = gaussian_blur2d(maps, (wide, wide), (sigma, sigma), border_type="replicate")
    return heat_of(maps, size, "all" if sign == "all" else "positive", CLIPPED)


def of_sign(maps: Tensor, sign: str) -> Tensor:
    """The part of signed maps of a sign, one of ``SIGNS``."""
    if sign == "all":
        return maps
    return maps.abs() if sign == "absolute" else (-maps if sign == "negative" else maps).relu()


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps ``[N, C, h, w]`` at another size, bilinear; their outer edges lie on those of the picture."""
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


def stretched(maps: Tensor, epsilon: float = 1e-7) -> Tensor:
    """Maps ``[N, C, h, w]`` scaled from [min, max] to [0, 1], each by itself."""
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low + epsilon)


def colour_map(cmap: str | Colormap | None, sign: str, fine: bool = False) -> Colormap:
    """A colour map, by default jet, or seismic for both signs; one that begins white for ``fine`` maps."""
    matplotlib = _matplotlib()
    default = PLAIN[sign] if fine else "seismic" if sign == "all" else "jet"
    found: Any = default if cmap is None else cmap
    if not isinstance(found, matplotlib.colors.Colormap):
        found = matplotlib.colormaps[choice("colour map", found, matplotlib.colormaps)]
    return found  # type: ignore[no-any-return]


def draw(
    kind: str, picture: Tensor, heat: Tensor, part: Part, colours: Colormap, sign: str, alpha: float, fine: bool
) -> Tensor:
    """``[3, H, W]`` in [0, 1]: a picture ``[C, H, W]`` combined with the map ``[height, width]`` of a part of it.

    The rest is unchanged, or black for ``"masked"``; a heat map alone is only as large as the part. Overlays have the
    opacity ``alpha`` where the map is at least half of its maximum, and less where it is lower. Overlays of ``fine``
    maps show the whole picture in pale grey.
    """
    # Pictures without 3 channels have no colours: the mean of their channels is drawn in grey.
    sheet = picture.clone() if len(picture) == 3 else picture.mean(0, keepdim=True).repeat(3, 1, 1)
    if kind == "original":
        return sheet
    top, left, height, width = part
    view, strength = sheet[:, top : top + height, left : left + width], heat.abs()
    if kind == "masked":
        return F.pad(view * strength, (left, sheet.shape[2] - left - width, top, sheet.shape[1] - top - height))
    level = (heat + 1) / 2 if sign == "all" else heat
    coloured = torch.from_numpy(colours(level.numpy())[..., :3].astype(np.float32)).movedim(-1, 0)
    if kind == "heat map":
        return coloured
    if kind == "overlay" and fine:
        sheet.copy_(1 - GROUND * (1 - sheet.mean(0, keepdim=True)))
    opacity = strength if kind == "blended" else alpha * ((strength - CLEAR) / (0.5 - CLEAR)).clamp(0, 1)
    view.copy_(view * (1 - opacity) + coloured * opacity)
    return sheet


def figure_of(
    cells: Sequence[Sequence[tuple[Tensor, str]]], colours: Colormap | None = None, lowest: float = 0
) -> MapFigure:
    """Pictures ``[3, H, W]`` in rows, each with a title over it; ``colours`` adds a colour bar from ``lowest`` to 1."""
    matplotlib = _matplotlib()
    from .figure import MapFigure

    rows, columns = len(cells), max(len(row) for row in cells)
    heights = [max(picture.shape[1] / picture.shape[2] for picture, _ in row) for row in cells]
    lines = max(title.count("\n") + 1 if title else 0 for row in cells for _, title in row)
    height = min(INCHES * sum(heights) + 0.2 * rows * (lines + 1), 300)
    # Not through pyplot, which would choose a backend and keep the figure open.
    figure = MapFigure((INCHES * columns + (0.8 if colours else 0), height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    for axis in axes.flat:
        axis.axis("off")
    for row, row_axes in zip(cells, axes, strict=True):
        for (picture, title), axis in zip(row, row_axes, strict=False):  # the last row may be shorter
            axis.imshow(picture.clamp(0, 1).movedim(0, -1).numpy(), interpolation="nearest")
            axis.set_title(title, fontsize=9, parse_math=False)
    if colours is not None:
        shades = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(lowest, 1), colours)
        figure.colorbar(shades, ax=list(axes.flat), shrink=0.8)
    return figure


def title_of(*lines: str) -> str:
    """A title of several lines, without empty ones."""
    return "\n".join(textwrap.fill(line, 36) for line in lines if line)


def titled(pictures: Sequence[Image.Image], titles: Sequence[str], columns: int | None = None) -> Image.Image:
    """Pictures of one size in a grid, small ones enlarged without smoothing, each with its title below it on white."""
    factor = max(1, ENLARGED // max(pictures[0].size))
    width, height = (side * factor for side in pictures[0].size)
    points = max(9, min(width // 16, 16))
    font, line = ImageFont.load_default(size=points), points * 7 // 5
    wrapped = [_wrapped(title, lambda text: font.getlength(text) <= width - 4) for title in titles]
    most = max(map(len, wrapped))
    cells = []
    for picture, lines in zip(pictures, wrapped, strict=True):
        cell = Image.new("RGB", (width, height + most * line + line // 3), "white")
        cell.paste(picture.resize((width, height), Image.Resampling.NEAREST))
        for i, text in enumerate(lines):
            ImageDraw.Draw(cell).text((width / 2, height + (i + 0.6) * line), text, "black", font, anchor="mm")
        cells.append(cell)
    return grid(cells, columns)


def _wrapped(title: str, fits: Callable[[str], bool]) -> list[str]:
    """The lines of a title, broken at spaces and, within long words, anywhere."""
    lines = []
    for text in title.split("\n"):
        line = ""
        for word in re.findall(r"\S+|\s", printable(text)):
            if not fits(line + word) and line.strip():
                lines.append(line.strip())
                line = ""
            while not fits(line + word) and len(word) > 1:
                keep = next((n for n in range(len(word) - 1, 1, -1) if fits(word[:n])), 1)
                lines.append(word[:keep])
                word = word[keep:]
            line += word
        lines.append(line.strip())
    return lines


def present(figure: Figure) -> None:
    """Show a figure: in a notebook, or in the system's viewer where there is a screen."""
    display = notebook_display()
    if display is not None:
        display(_picture_of(figure))
        cell = _cell()

        def again() -> None:
            # A figure that is also the value of the cell that shows it would appear twice.
            if _cell() != cell:
                display(_picture_of(figure))

        figure._ipython_display_ = again  # type: ignore[attr-defined]
    elif os.environ.get("MPLBACKEND", "").lower() != "agg" and has_screen():
        _picture_of(figure).show()


def _picture_of(figure: Figure) -> Image.Image:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    return Image.open(data)


def _cell() -> Any:
    """The number of the notebook cell that is running."""
    return getattr(sys.modules["IPython"].get_ipython(), "execution_count", None)


def _matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.cm
        import matplotlib.colors
        import matplotlib.figure
    except ImportError as error:
        raise ImportError("drawing a map needs matplotlib: pip install 'optvis[plot]'") from error
    return matplotlib
