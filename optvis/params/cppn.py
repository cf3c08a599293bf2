"""Parameterisation by a small network from position to colour, which can be rendered at any size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..checks import as_count, as_whole
from .param import Param


class CPPNParam(Param):
    """Images ``[N, C, H, W]`` from a compositional pattern-producing network, one for each picture.

    Stanley, "Compositional pattern producing networks", 2007; as a parameterisation: Mordvintsev, Pezzotti,
    Schubert, Olah, "Differentiable Image Parameterizations", 2018. ``grow(2048)()`` renders a finished picture at
    2048 px.

    Each picture has weights of its own. ``width`` is the number of units of a hidden layer, at most 4096, and ``depth``
    the number of hidden layers, at most 1000; other arguments are those of ``ColorParam``.
    """

    lr_scale = 0.0125
    least_steps = 384

    def __init__(
        self,
        size: int | Sequence[int],
        batch: int = 1,
        channels: int | None = None,
        seed: int | Sequence[int] = 0,
        width: int = 24,
        depth: int = 8,
    ) -> None:
        super().__init__(size, batch, channels, seed)
        self.width, self.depth = as_count("width", width, 4096), as_whole("depth", depth, 0, 1000)
        inputs = [2] + [2 * self.width] * self.depth  # each hidden unit has two outputs
        outputs = [self.width] * self.depth + [self.channels]
        drawn = self.noise(sum((i + 1) * o for i, o in zip(inputs, outputs, strict=True)))
        self.weights = nn.ParameterList()
        for i, o in zip(inputs, outputs, strict=True):
            weight, drawn = drawn[:, : (i + 1) * o], drawn[:, (i + 1) * o :]
            weight = weight.reshape(self.batch, i + 1, o) / i**0.5
            weight[:, -1] = 0  # the last row is the bias
            self.weights.append(nn.Parameter(weight))
        with torch.no_grad():
            self.weights[-1].zero_()  # mid-grey at the start

    def forward(self) -> Tensor:
        height, width = self.size
        y = _centres(height, self.weights[0].device)
        x = _centres(width, self.weights[0].device) * (width / height)
        places = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(1, -1, 2)
        values = places.expand(self.batch, -1, -1)
        for i, weight in enumerate(self.weights):
            values = torch.baddbmm(weight[:, -1:], values, weight[:, :-1])
            if i < self.depth:
                values = _both(values)
        return torch.sigmoid(values).mT.reshape(self.batch, self.channels, height, width)


def _centres(count: int, device: torch.device) -> Tensor:
    """``[count]``: the centres of pixels in a row, with mean 0 and variance 1."""
    return ((torch.arange(count, dtype=torch.float32, device=device) + 0.5) / count * 2 - 1) * 3**0.5


def _both(x: Tensor) -> Tensor:
    """The arctangent and its square, both scaled to mean 0 and variance 1 for standard normal input, as in Lucid."""
    angle = torch.atan(x)
    return torch.cat([angle / 0.67, (angle.square() - 0.45) / 0.396], -1)
