"""Score functions: from images to ``[N]`` scores, some with gradients that are computed in the forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .rng import Rng

ScoreFunction = Callable[[Tensor, Rng], Tensor]
"""From images ``[N, C, H, W]`` and random numbers to scores ``[N]``."""


def scores_and_gradient(score: ScoreFunction, image: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
    """``[N]`` scores, and the gradient ``[N, C, H, W]`` of their sum."""
    with torch.enable_grad():
        image = image.detach().requires_grad_()
        scores = score(image, rng)
        (gradient,) = torch.autograd.grad(scores.sum(), image)
    return scores.detach(), gradient


def along_with_gradient(image: Tensor, compute: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    """``[N]`` scores that ``compute`` returns with their gradient, which the backward pass then uses."""
    scores: Tensor = _Known.apply(image, compute)
    return scores


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, compute: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        scores, gradient = compute(image.detach())
        ctx.save_for_backward(gradient)
        return scores

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors  # a score depends on its own image alone
        return gradient * gradients[0].view(-1, 1, 1, 1), None
