"""What pixel methods are given: several baselines, segments, windows and noise, as users write them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import as_size
from .baselines import Baseline, as_baseline
from .context import Context


def as_distribution(look: Context, baselines: Sequence[Baseline] | Tensor) -> Tensor:
    """``[B, C, H, W]``: several baselines of one image, as the network takes them.

    Raises:
        ValueError: fewer than two, or one that ``as_baseline`` does not take.
    """
    if isinstance(baselines, str) or not isinstance(baselines, (Sequence, Tensor)) or len(baselines) < 2:
        raise ValueError(f"baselines {baselines!r}: give two or more, such as ('black', 'white')")
    return torch.cat([look.normalised(as_baseline(look, baseline)) for baseline in baselines])


def as_deviation(look: Context, noise: float) -> float:
    """Standard deviation of noise that is given as a fraction of the range of the network's input."""
    if not isinstance(noise, (int, float)) or not 0 <= noise < math.inf:
        raise ValueError(f"noise {noise!r}: give a fraction of the image's range, such as 0.15")
    values = look.inputs.detach()
    return float(noise) * float(values.max() - values.min())


def as_segments(look: Context, segments: int | Sequence[int], mask: Any = None) -> Tensor:
    """``[1, C, H, W]`` whole numbers: to which segment each pixel belongs.

    Args:
        look: what is looked at.
        segments: how many along each side, or (down, across).
        mask: ``[H, W]`` whole numbers, by which the image is cut instead.

    Raises:
        ValueError: more segments than pixels, a single one, or a mask of another size or type.
    """
    height, width = look.images.shape[-2:]
    if mask is not None:
        given = torch.as_tensor(mask, device=look.images.device)
        if tuple(given.shape) != (height, width) or given.is_floating_point():
            raise ValueError(
                f"feature_mask has {list(given.shape)} {given.dtype}: give whole numbers, [{height}, {width}]"
            )
        found = torch.unique(given, return_inverse=True)[1].view(height, width)
    else:
        down, across = as_size(segments)
        if down > height or across > width:
            raise ValueError(f"segments {segments!r}: an image of {height} × {width} px has fewer pixels than that")
        rows = torch.arange(height, device=look.images.device) * down // height
        columns = torch.arange(width, device=look.images.device) * across // width
        found = rows[:, None] * across + columns
    if int(found.max()) < 1:
        raise ValueError("a single segment tells nothing: give two or more")
    return found.expand(1, look.images.shape[1], -1, -1)


def as_windows(look: Context, window: Any = None, stride: Any = None) -> dict[str, Any]:
    """Captum's window and strides from pixels: an eighth of the image, in steps of half a window, by default.

    Raises:
        ValueError: a window larger than the image, or a stride larger than the window.
    """
    channels, height, width = look.images.shape[1:]
    high, wide = (max(1, height // 8), max(1, width // 8)) if window is None else as_size(window)
    if high > height or wide > width:
        raise ValueError(f"window {window!r} is larger than the image of {height} × {width} px")
    down, across = (max(1, high // 2), max(1, wide // 2)) if stride is None else as_size(stride)
    if down > high or across > wide:
        raise ValueError(f"stride {stride!r} would leave gaps between windows of {high} × {wide} px: give less")
    return {"sliding_window_shapes": (channels, high, wide), "strides": (channels, down, across)}
