"""Drawing maps: scaling, colours, overlays and figures."""

from __future__ import annotations

import io
import os
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..checks import choice
from ..display import has_screen, notebook_display
from .inputs import Part

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

SIGNS = ("positive", "negative", "absolute", "all")
KINDS = ("heat map", "overlay", "original", "masked", "blended")
INCHES = 2.8  # the width of a cell of a figure


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


def colour_map(cmap: str | Colormap | None, sign: str) -> Colormap:
    """A colour map of matplotlib; by default jet, or seismic, with white in its middle, for maps of both signs."""
    matplotlib = _matplotlib()
    found: Any = ("seismic" if sign == "all" else "jet") if cmap is None else cmap
    if not isinstance(found, matplotlib.colors.Colormap):
        found = matplotlib.colormaps[choice("colour map", found, matplotlib.colormaps)]
    return found  # type: ignore[no-any-return]


def draw(
    kind: str, picture: Tensor, heat: Tensor, part: Part, colours: Colormap, sign: str, alpha: float = 0.5
) -> Tensor:
    """``[3, H, W]`` in [0, 1]: a picture ``[C, H, W]`` combined with the map ``[height, width]`` of a part of it.

    The rest is unchanged, or black for ``"masked"``; a heat map alone is only as large as the part.
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
    opacity = strength if kind == "blended" else alpha
    view.copy_(view * (1 - opacity) + coloured * opacity)
    return sheet


def figure_of(
    cells: Sequence[Sequence[tuple[Tensor, str]]], colours: Colormap | None = None, lowest: float = 0
) -> Figure:
    """Pictures ``[3, H, W]`` in rows, each with a title over it; ``colours`` adds a colour bar from ``lowest`` to 1."""
    matplotlib = _matplotlib()
    rows, columns = len(cells), max(len(row) for row in cells)
    heights = [max(picture.shape[1] / picture.shape[2] for picture, _ in row) for row in cells]
    lines = max(title.count("\n") + 1 if title else 0 for row in cells for _, title in row)
    height = min(INCHES * sum(heights) + 0.18 * rows * (lines + 0.5), 300)
    # Not through pyplot, which would choose a backend and keep the figure open.
    figure: Figure = matplotlib.figure.Figure(
        (INCHES * columns + (0.8 if colours else 0), height), layout="constrained"
    )
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
