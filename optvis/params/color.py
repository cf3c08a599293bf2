"""Conversion of unbounded, decorrelated colours to RGB in [0, 1], and back; the parameterisations that use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..checks import as_flag, as_number
from .param import Param

Self = TypeVar("Self", bound="ColorParam")

# The square root of the covariance of ImageNet's colours, measured for Lucid (Olah, Mordvintsev, Schubert, "Feature
# Visualization", 2017). The columns are lightness, blue against yellow, and green against magenta.
_COVARIANCE_ROOT = torch.tensor(
    [[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], dtype=torch.float32, device="cpu"
)

EDGE = 1 / 1024
"""Images to encode are clamped to [1/1024, 1 - 1/1024], because the logit of 0 is infinite."""


class Color(nn.Module):
    """From any numbers ``[N, C, H, W]`` to [0, 1]: decorrelated colours to RGB (only if C is 3), then a sigmoid."""

    matrix: Tensor
    inverse: Tensor

    def __init__(self, channels: int, decorrelate: bool) -> None:
        super().__init__()
        self.decorrelate = as_flag("decorrelate", decorrelate) and channels == 3
        matrix = _COVARIANCE_ROOT / _COVARIANCE_ROOT.norm(dim=0).max()
        self.register_buffer("matrix", matrix, persistent=False)
        self.register_buffer("inverse", torch.linalg.inv(matrix), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        return torch.sigmoid(torch.einsum("ij,njhw->nihw", self.matrix, values) if self.decorrelate else values)

    def encode(self, image: Tensor) -> Tensor:
        """The reverse: numbers whose image is ``image`` ``[N, C, H, W]`` in [0, 1], with an error of up to 1/1024."""
        values = torch.logit(image.float().clamp(EDGE, 1 - EDGE))
        return torch.einsum("ij,njhw->nihw", self.inverse, values) if self.decorrelate else values


class ColorParam(Param):
    """Images ``[N, C, H, W]`` from unbounded numbers of the same shape.

    Subclasses define ``start``, which makes the parameters, ``values`` and its reverse ``set_values``.

    Args:
        size: pixels, or (height, width); may be odd.
        batch: number of pictures.
        channels: 3 for RGB, or any other number; by default the network's, and 3 without one.
        decorrelate: optimise decorrelated colours (RGB only).
        seed: of the first picture's noise, with consecutive seeds for the others; or one for each picture.
        noise_scale: standard deviation of the parameters at the start.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        batch: int = 1,
        channels: int | None = None,
        decorrelate: bool = True,
        seed: int | Sequence[int] = 0,
        noise_scale: float = 0.01,
    ) -> None:
        super().__init__(size, batch, channels, seed)
        self.noise_scale = as_number("noise_scale", noise_scale, 0)
        self.color = Color(self.channels, decorrelate)
        self.decorrelate = self.color.decorrelate
        self.start()

    def start(self) -> None:
        raise NotImplementedError

    def values(self) -> Tensor:
        raise NotImplementedError

    def set_values(self, values: Tensor) -> None:
        raise NotImplementedError

    def forward(self) -> Tensor:
        image: Tensor = self.color(self.values())
        return image

    @torch.no_grad()
    def encode(self: Self, image: Tensor) -> Self:
        """Hold images ``[N, C, H, W]`` in [0, 1] (error below 1/255); returns itself."""
        self.set_values(self.color.encode(self._fitting(image)))
        self.holds_picture = True
        return self
