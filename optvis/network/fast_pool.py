"""A faster forward pass through max pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaxPool2d(nn.MaxPool2d):
    """Max pooling that is faster on a CPU where no gradient is needed, and gives the same values to the bit.

    Torch's pooling takes a third of a pass through SqueezeNet: it works in vectors of channels only where the channels
    are last in memory.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``[N, C, H, W]`` or ``[C, H, W]``, as ``nn.MaxPool2d``."""
        plain = input.device.type != "cpu" or input.dim() != 4 or input.shape[1] < 16 or not input.is_contiguous()
        pooled: Tensor
        if plain or self.return_indices or (input.requires_grad and torch.is_grad_enabled()):
            pooled = super().forward(input)
            return pooled
        pooled = super().forward(input.contiguous(memory_format=torch.channels_last))
        return pooled.contiguous()
