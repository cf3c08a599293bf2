"""Baselines: the image at which an integration path begins, or whose pixels replace removed ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..checks import choice, shown
from .context import Context

Baseline = str | float | Sequence[float] | Tensor
"""A name, a number in [0, 1], a number for each channel, an image ``[C, H, W]``, or N images ``[N, C, H, W]``."""

_GREYS = {"black": 0.0, "grey": 0.5, "white": 1.0}
_NAMES = (*_GREYS, "mean", "blur")


def as_baseline(context: Context, baseline: Baseline) -> Tensor:
    """``[N, C, H, W]`` in [0, 1]: a baseline for each image of a context.

    Args:
        context: of N images.
        baseline: ``"black"``, ``"grey"`` (0.5), ``"white"``; ``"mean"``, the mean by which the network's input is
            normalised; ``"blur"``, the image after a Gaussian blur (σ is a twelfth of its longer side); a number, a
            number for each channel, or images, all in [0, 1].

    Raises:
        ValueError: an unknown name, a shape that does not fit, or values outside [0, 1].
    """
    images = context.images
    if isinstance(baseline, str):
        choice("baseline", baseline, _NAMES)
        if baseline == "blur":
            return _blurred(images)
        baseline = context.forward.given.mean if baseline == "mean" else _GREYS[baseline]
    try:
        found = torch.as_tensor(baseline, dtype=images.dtype, device=images.device).detach()
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise TypeError(
            f"baseline {shown(baseline)}: give a name, a number, one for each channel, or images"
        ) from error
    found = found[:, None, None] if found.dim() == 1 else found
    try:
        found = found.expand_as(images)
    except RuntimeError:
        raise ValueError(
            f"the baseline has {list(found.shape)}, which does not fit images of {list(images.shape)}: give a number, "
            "[C], [C, H, W] or [N, C, H, W]"
        ) from None
    if not (found.min() >= 0 and found.max() <= 1):
        raise ValueError(
            f"the baseline has values from {float(found.min()):.3g} to {float(found.max()):.3g}: give an image in "
            "[0, 1], before it is normalised"
        )
    return found


def as_distribution(context: Context, baselines: Sequence[Baseline] | Tensor) -> Tensor:
    """``[B, C, H, W]``: several baselines of one image, normalised.

    Raises:
        ValueError: fewer than two, or one that ``as_baseline`` does not take.
    """
    if isinstance(baselines, str) or not isinstance(baselines, (Sequence, Tensor)) or len(baselines) < 2:
        raise ValueError(f"baselines {baselines!r}: give two or more, such as ('black', 'white')")
    return torch.cat([context.forward.normalise(as_baseline(context, baseline)) for baseline in baselines])


def _blurred(images: Tensor) -> Tensor:
    from kornia.filters import gaussian_blur2d

    sigma = max(images.shape[-2:]) / 12
    wide = 2 * math.ceil(2 * sigma) + 1
    return gaussian_blur2d(images, (wide, wide), (sigma, sigma), border_type="replicate").clamp(0, 1)
