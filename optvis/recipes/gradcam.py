"""Grad-CAM with the network's prediction beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..attribution import attribute
from ..attribution.plotting import INCHES, colour_map, title_of
from ..attribution.targets import percent
from ..checks import as_count
from ..figure import Figure, settings_of
from ..plots import rendered
from ..view import view
from .predictions import MAP_DPI, predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 5
"""The number of most probable classes that an attribution's target holds."""

CLASS_INCHES = 0.45
"""The height of a class in a list that has room for more of them."""


@view("gradcam")
def gradcam(
    network: nn.Module,
    images: Any,
    layer: str | None = None,
    target: Any = None,
    top: int = 5,
    *,
    names: Sequence[str] | Mapping[int, str] | str | PathLike[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    verbose: bool | str = True,
) -> Figure:
    """Images with their Grad-CAM and the network's most probable classes.

    ::

        gradcam(network, ["dog.jpg", "cat.jpg"]).save("gradcam.png")

    Args:
        network: any classifier that takes images; it is read only.
        images: in any form that ``attribute`` takes: RGB in [0, 1], paths or PIL images.
        layer: address of the layer whose map is drawn; by default the last one with a map.
        target: class that is explained, by number or name, or anything else that ``attribute`` takes; by default each
            image's most probable class.
        top: number of classes listed, 1 to 5. None are listed if ``target`` is an objective or a function.
        names: of the network's outputs: a list in their order, a dictionary from numbers to names, or a JSON file of
            one of these; by default the network's own, or ImageNet's.
        mean: of the normalisation, per channel; by default the network's own.
        std: likewise.
        verbose: as for ``OptVis.vis``.

    Returns:
        A figure with a row for each image: the image, its overlay, and the classes with their probabilities.
        ``values["images"]`` holds the target, its probability and the classes of each; ``tensors["heatmaps"]`` the
        maps ``[N, H, W]`` in [0, 1].

    Raises:
        ValueError: as ``attribute``, or ``top`` is not from 1 to 5.
        ImportError: matplotlib is not installed.
    """
    top = as_count("top", top, MOST_CLASSES)
    colour_map(None, "positive")  # raises now, not after the work, if there is no matplotlib
    result = attribute(
        network,
        images,
        "gradcam",
        target,
        layer,
        mean=mean,
        std=std,
        names=names,  # type: ignore[arg-type]
        verbose=verbose,
    )
    facts = predictions(result, top)
    titles = [title_of(f"Grad-CAM: {title}") for title in result.target.titles]
    picture = _drawn(result.drawn("original", "positive"), result.drawn("overlay", "positive"), titles, facts)
    settings = settings_of("gradcam", network, layer=list(result.layer), target=target, top=top)
    return Figure(
        picture,
        {**settings, "attribution": result.settings},
        {"layer": list(result.layer), "images": facts},
        {"heatmaps": result.heatmap()},
    )


def _drawn(
    originals: Sequence[Tensor], overlays: Sequence[Tensor], titles: Sequence[str], facts: Sequence[dict[str, Any]]
) -> Any:
    from ..attribution.figure import MapFigure

    listed = any(fact["top"] for fact in facts)
    heights = [picture.shape[1] / picture.shape[2] for picture in originals]
    size = (INCHES * (3 if listed else 2), INCHES * sum(heights) + 0.45 * len(heights))
    figure = MapFigure(size, layout="constrained")
    axes = figure.subplots(len(originals), 3 if listed else 2, squeeze=False, height_ratios=heights)
    for row, original, overlay, title, fact in zip(axes, originals, overlays, titles, facts, strict=True):
        for axis, picture, text in zip(row, (original, overlay), ("", title), strict=False):
            axis.imshow(picture.clamp(0, 1).movedim(0, -1).numpy(), interpolation="nearest")
            axis.set_title(text, fontsize=9, parse_math=False)
            axis.axis("off")
        if listed:
            draw_classes(row[2], fact["top"], fact["target"], INCHES * original.shape[1] / original.shape[2])
    return rendered(figure, MAP_DPI)


def draw_classes(axis: Axes, classes: Sequence[Sequence[Any]], target: str, height: float) -> None:
    """Draw classes and their probabilities as horizontal bars, the name above each; ``target`` in a strong colour.

    ``height`` is that of the axis in inches.
    """
    axis.axis("off")
    axis.set_xlim(0, 1.25)
    axis.set_ylim(max(len(classes) - 0.2, height / CLASS_INCHES - 0.8), -0.8)
    for i, (name, chance) in enumerate(classes):
        chosen = name == target
        axis.barh(i, 1, height=0.2, color="#ececec")
        axis.barh(i, chance, height=0.2, color="#2166ac" if chosen else "#9ab8d0")
        said = textwrap.shorten(str(name), 34, placeholder="…")
        weight = "bold" if chosen else "normal"
        axis.text(0, i - 0.16, said, fontsize=9, va="bottom", weight=weight, parse_math=False)
        axis.text(1.04, i, percent(chance), fontsize=9, va="center")
