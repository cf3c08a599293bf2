"""Conversion of unbounded, decorrelated colours to RGB in [0, 1], and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..checks import as_flag

# The square root of the covariance of ImageNet's colours, measured for Lucid (Olah, Mordvintsev, Schubert, "Feature
# Visualization", 2017). The columns are lightness, blue against yellow, and green against magenta.
_COVARIANCE_ROOT = torch.tensor(
    [[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], dtype=torch.float32, device="cpu"
)

EDGE = 1 / 1024
"""Images to encode are clamped to [1/1024, 1 - 1/1024], because the logit of 0 is infinite."""


class Color(nn.Module):
    """From any numbers ``[N, C, H, W]`` to [0, 1]: decorrelated colours to RGB (if C is 3), then a sigmoid.

    Args:
        channels: C.
        decorrelate: True if the numbers are decorrelated colours; ignored unless C is 3.
    """

    matrix: Tensor
    inverse: Tensor

    def __init__(self, channels: int, decorrelate: bool) -> None:
        super().__init__()
        self.decorrelate = as_flag("decorrelate", decorrelate) and channels == 3
        matrix = _COVARIANCE_ROOT / _COVARIANCE_ROOT.norm(dim=0).max()
        self.register_buffer("matrix", matrix, persistent=False)
        self.register_buffer("inverse", torch.linalg.inv(matrix), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        return torch.sigmoid(_mix(self.matrix, values) if self.decorrelate else values)

    def encode(self, image: Tensor) -> Tensor:
        """The reverse: numbers whose image is ``image`` ``[N, C, H, W]`` in [0, 1], with an error of up to 1/1024."""
        values = torch.logit(image.float().clamp(EDGE, 1 - EDGE))
        return _mix(self.inverse, values) if self.decorrelate else values


def _mix(matrix: Tensor, values: Tensor) -> Tensor:
    return torch.einsum("ij,njhw->nihw", matrix, values)
