"""A small network from place to colour: pictures without pixels, to be rendered at any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import as_size
from .param import Param, noise


class CPPNParam(Param):
    """Images ``[N, C, H, W]`` from a compositional pattern-producing network, one for each picture.

    Stanley, "Compositional pattern producing networks", 2007; as a parameterisation: Mordvintsev, Pezzotti,
    Schubert, Olah, "Differentiable Image Parameterizations", 2018. ``grow(2048)()`` renders a finished picture at
    2048 px.

    Args:
        size: pixels, or (height, width).
        batch: number of pictures, each with weights of its own.
        channels: 3 for RGB, or any other number.
        seed: of the first picture's weights, the others counting on; or one for each picture.
        width: units of a hidden layer.
        depth: number of hidden layers.
    """

    lr_scale = 0.0125

    def __init__(
        self,
        size: int | Sequence[int],
        batch: int = 1,
        channels: int = 3,
        seed: int | Sequence[int] = 0,
        width: int = 24,
        depth: int = 8,
    ) -> None:
        super().__init__(size, batch, channels)
        self.width, self.depth = width, depth
        inputs = [2] + [2 * width] * depth  # each hidden layer puts out two numbers a unit
        outputs = [width] * depth + [channels]
        count = sum((i + 1) * o for i, o in zip(inputs, outputs))
        drawn = noise((count,), seed, batch)
        self.weights = nn.ParameterList()
        for i, o in zip(inputs, outputs):
            weight, drawn = drawn[:, : (i + 1) * o], drawn[:, (i + 1) * o :]
            weight = weight.reshape(batch, i + 1, o) / i**0.5
            weight[:, -1] = 0  # the last row is the bias
            self.weights.append(nn.Parameter(weight))
        with torch.no_grad():
            self.weights[-1].zero_()  # mid-grey at the start

    def forward(self) -> Tensor:
        height, width = self.size
        device = self.weights[0].device
        y = _centres(height, device)
        x = _centres(width, device) * (width / height)
        places = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(1, -1, 2)
        values = places.expand(self.batch, -1, -1)
        for i, weight in enumerate(self.weights):
            values = torch.baddbmm(weight[:, -1:], values, weight[:, :-1])
            if i < self.depth:
                values = _both(values)
        return torch.sigmoid(values).mT.reshape(self.batch, self.channels, height, width)

    def options(self) -> dict[str, Any]:
        return {**super().options(), "width": self.width, "depth": self.depth}

    @torch.no_grad()
    def grow(self, size: int | Sequence[int]) -> CPPNParam:
        """The same pictures, rendered at another size."""
        grown = CPPNParam(as_size(size), self.batch, self.channels, 0, self.width, self.depth)
        grown.load_state_dict(self.state_dict())
        grown.holds_picture = self.holds_picture
        return grown.to(self.weights[0].device)


def _centres(count: int, device: torch.device) -> Tensor:
    """The centres of so many pixels side by side, of mean 0 and variance 1."""
    return ((torch.arange(count, device=device) + 0.5) / count * 2 - 1) * 3**0.5


def _both(x: Tensor) -> Tensor:
    """The arctangent and its square, each of mean 0 and variance 1 for normal numbers, as in Lucid."""
    angle = torch.atan(x)
    return torch.cat([angle / 0.67, (angle.square() - 0.45) / 0.396], -1)
