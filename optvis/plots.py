"""Plots as PIL images, drawn by matplotlib without pyplot, so that no display or global state is needed."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .images import to_pil
from .text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 144
INK, FAINT = "#222222", "#8a8a8a"
"""Colours of text: of titles and labels, and of what is said beside."""
FRAME = "#d0d0d0"
EDGE = 12
"""Pixels around a picture with a title."""
_COLOURS = (
    "#4269d0", "#ff725c", "#3ca951", "#efb118", "#a463f2", "#6cc5b0", "#9c6b4e", "#ff8ab7", "#97bbf5", "#7b8494",
    "#b5179e", "#8ac926",
)  # fmt: skip
"""The colours of up to twelve classes, from Observable's palette and two more; further classes share the hue circle."""


def new_figure(width: float, height: float, view: str, extra: str) -> Figure:
    """An empty white figure of a size in inches; raises ``ImportError`` where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"{view} needs matplotlib: pip install 'optvis[{extra}]'") from error
    figure = Figure((width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the figure's upper left corner, with a pale frame and without ticks."""
    whole_width, whole_height = figure.get_size_inches()
    place = (left / whole_width, 1 - (top + height) / whole_height, width / whole_width, height / whole_height)
    axes = figure.add_axes(place)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=FRAME, linewidth=0.8)
    return axes


def write(figure: Figure, left: float, top: float, text: str, size: float = 10, **style: Any) -> None:
    """A line of text whose upper left corner is at a place in inches from the figure's upper left corner."""
    width, height = figure.get_size_inches()
    look = {"color": INK, "ha": "left", "va": "top", **style}
    figure.text(left / width, 1 - top / height, printable(text), fontsize=size, parse_math=False, **look)


def rendered(figure: Figure, dpi: int = DPI) -> Image.Image:
    """The figure as an RGB image."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi)
    return Image.open(data).convert("RGB")


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters, with an ellipsis where it was cut."""
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def short_class(name: str, most: int = 24) -> str:
    """The name of a class without its synonyms, which follow a comma."""
    return shortened(name.split(",")[0], most)


def class_colours(names: Sequence[str]) -> list[tuple[float, float, float]]:
    """A colour for each class, RGB in [0, 1]. Classes that are named after colours get these."""
    from matplotlib.colors import hsv_to_rgb, is_color_like, to_rgb

    if names and all(is_color_like(name) and name.isalpha() and len(name) > 1 for name in names):
        return [to_rgb(name) for name in names]
    if len(names) <= len(_COLOURS):
        return [to_rgb(colour) for colour in _COLOURS[: len(names)]]
    shades = ((0.75, 0.85), (0.9, 0.6), (0.45, 0.9))
    found = [hsv_to_rgb((i / len(names), *shades[i % len(shades)])) for i in range(len(names))]
    return [tuple(map(float, colour)) for colour in found]  # type: ignore[misc]


def titled(picture: Image.Image | None, title: str) -> Image.Image:
    """A picture on white with a line of text above it; the text alone for ``None``."""
    font, title = ImageFont.load_default(size=16), printable(title)
    width = max(math.ceil(font.getlength(title)), 0 if picture is None else picture.width) + 2 * EDGE
    sheet = Image.new("RGB", (width, (0 if picture is None else picture.height) + 3 * EDGE + 16), "white")
    ImageDraw.Draw(sheet).text((EDGE, EDGE), title, INK, font)
    if picture is not None:
        sheet.paste(picture, (EDGE, 2 * EDGE + 16))
    return sheet


def as_rgb(image: Tensor) -> Image.Image:
    """``[C, H, W]`` in [0, 1] as an RGB image: the mean of the channels in grey where they are not three."""
    return to_pil(image if len(image) == 3 else image.mean(0, keepdim=True).expand(3, -1, -1))
