"""Muon (Jordan, 2024), an optimiser for convolutions; training needs a third of the pictures that Adam needs."""

from collections.abc import Iterable

import torch
from torch import Tensor
from typing_extensions import override


class Muon(torch.optim.Optimizer):
    """Takes steps of equal size in every direction of a weight [O, I, H, W], whose rows keep a mean norm of 1."""

    def __init__(self, weights: Iterable[Tensor], lr: float, momentum: float = 0.6) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @override
    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                mean.mul_(group["momentum"]).add_(weight.grad)
                change = orthogonal(weight.grad.add(mean, alpha=group["momentum"]).flatten(1))
                weight.mul_(len(weight) ** 0.5 / weight.norm())
                weight.sub_(group["lr"] * change.reshape(weight.shape))


def orthogonal(matrix: Tensor, steps: int = 3) -> Tensor:
    """Approximately the nearest matrix whose singular values are all 1, by a quintic Newton-Schulz iteration."""
    x: Tensor = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
