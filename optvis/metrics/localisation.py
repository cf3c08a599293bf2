"""Localisation: does a map lie on the object whose box is known?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..checks import as_list, as_number, as_numbers
from .scorer import Map, importance

Box = Sequence[float]
"""``(x0, y0, x1, y1)`` in pixels of the image; whole numbers include the pixels x0 to x1 - 1 and y0 to y1 - 1."""


def pointing_game(attribution: Map, boxes: Sequence[Box] | Tensor, tolerance: float = 0) -> Tensor:
    """``[N]``: 1 if the largest value of the map lies in the image's box, else 0.

    Zhang et al., "Top-down Neural Attention by Excitation Backprop", 2016.

    Args:
        attribution: the map; of equal largest values the first from top left to bottom right counts.
        boxes: one for each image, ``(x0, y0, x1, y1)`` in pixels of ``attribution.images``.
        tolerance: number of pixels by which each box is enlarged on all sides (15 in the paper).

    Raises:
        ValueError: not one box for each image, or a box that is empty or outside the image.
    """
    tolerance = as_number("tolerance", tolerance, 0, kind="a number of pixels")
    important = importance(attribution)
    inside = _inside(boxes, important, tolerance).flatten(1)
    first = (-important.flatten(1)).argsort(dim=1, stable=True)[:, :1]
    return inside.gather(1, first)[:, 0].float().cpu()


def energy_in_box(attribution: Map, boxes: Sequence[Box] | Tensor) -> Tensor:
    """``[N]`` in [0, 1]: the share of the positive map that lies in the image's box; 0 where nothing is positive.

    Wang et al., "Score-CAM", 2020. Arguments as for ``pointing_game``.
    """
    important = importance(attribution).relu()
    inside = (important * _inside(boxes, important, 0)).sum((1, 2))
    whole = important.sum((1, 2))
    return torch.where(whole > 0, inside / torch.where(whole > 0, whole, 1), 0).cpu()


def _inside(boxes: Sequence[Box] | Tensor, important: Tensor, tolerance: float) -> Tensor:
    """``[N, H, W]``: true if the centre of a pixel lies in the box of its image."""
    rows = [
        as_numbers(f"box {i}", box, 4, "corners x0, y0, x1, y1")
        for i, box in enumerate(as_list("boxes", boxes, "a box (x0, y0, x1, y1) for each image"))
    ]
    count, height, width = important.shape
    if len(rows) != count:
        raise ValueError(f"{len(rows)} boxes for {count} images: give one (x0, y0, x1, y1) for each")
    for i, box in enumerate(rows):
        if not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f"box {i} is {box}: give (x0, y0, x1, y1) with x0 < x1 and y0 < y1")
        if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
            raise ValueError(f"box {i}, {box}, lies outside its image of {width} × {height} px")
    corners = torch.tensor(rows, dtype=torch.float32, device=important.device)[:, :, None]
    x = torch.arange(width, device=important.device) + 0.5
    y = torch.arange(height, device=important.device) + 0.5
    across = (x >= corners[:, 0] - tolerance) & (x < corners[:, 2] + tolerance)
    down = (y >= corners[:, 1] - tolerance) & (y < corners[:, 3] + tolerance)
    return down[:, :, None] & across[:, None, :]
