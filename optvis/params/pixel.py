"""Pixels, each optimised by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import as_size
from .color import Color
from .param import Param, noise


class PixelParam(Param):
    """Images ``[N, C, H, W]`` from one number for each pixel and channel.

    Args:
        size: pixels, or (height, width).
        batch: number of pictures.
        channels: 3 for RGB, or any other number.
        decorrelate: optimise decorrelated colours (RGB only).
        seed: of the first picture's noise, the others counting on; or one for each picture.
        noise_scale: standard deviation of the numbers at the start.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        batch: int = 1,
        channels: int = 3,
        decorrelate: bool = True,
        seed: int | Sequence[int] = 0,
        noise_scale: float = 0.01,
    ) -> None:
        super().__init__(size, batch, channels)
        self.color = Color(channels, decorrelate)
        self.pixels = nn.Parameter(noise((channels, *self.size), seed, batch) * noise_scale)

    def forward(self) -> Tensor:
        return self.color(self.pixels)

    def options(self) -> dict[str, Any]:
        return {**super().options(), "decorrelate": self.color.decorrelate}

    @torch.no_grad()
    def encode(self, image: Tensor) -> PixelParam:
        """Hold these images ``[N, C, H, W]`` in [0, 1]; they come out as themselves (error below 1/255)."""
        self.pixels.copy_(self.color.encode(self._fitting(image)))
        self.holds_picture = True
        return self

    @torch.no_grad()
    def grow(self, size: int | Sequence[int]) -> PixelParam:
        """The same pictures at another size, resampled (bilinear, without aliasing)."""
        size = as_size(size)
        grown = PixelParam(size, self.batch, self.channels, self.color.decorrelate).to(self.pixels.device)
        resized = nn.functional.interpolate(self.pixels, size=size, mode="bilinear", antialias=True)
        grown.pixels.copy_(resized if size != self.size else self.pixels)
        grown.holds_picture = self.holds_picture
        return grown
