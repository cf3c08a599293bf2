"""The base of every parameterisation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import as_count, as_size


class Param(nn.Module):
    """A module whose call gives images ``[N, C, H, W]`` in [0, 1].

    Subclasses define ``forward`` and ``grow``. All parameters have the pictures along their first axis.

    Attributes:
        size: (height, width) in pixels.
        batch: number of pictures N.
        channels: number of channels C.
        lr_scale: what the learning rate of the run is multiplied by.
        holds_picture: whether it holds more than the noise that it began with; then a run keeps its size.
    """

    lr_scale = 1.0

    def __init__(self, size: int | Sequence[int], batch: int, channels: int) -> None:
        super().__init__()
        self.size = as_size(size)
        self.batch = as_count("batch", batch)
        self.channels = as_count("channels", channels)
        self.holds_picture = False

    def forward(self) -> Tensor:
        raise NotImplementedError

    def grow(self, size: int | Sequence[int]) -> Param:
        """A new parameterisation that holds the same pictures at another size."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """What it was made with, beside the number of pictures and their noise."""
        return {"size": self.size, "channels": self.channels}

    def _fitting(self, image: Tensor) -> Tensor:
        expected = (self.batch, self.channels, *self.size)
        if image.dim() != 4 or image.shape[1:] != expected[1:] or image.shape[0] not in (1, self.batch):
            raise ValueError(f"images of shape {list(image.shape)} do not fit: {self!r} holds {list(expected)}")
        return image

    @staticmethod
    def join(params: Sequence[Param]) -> Param:
        """One parameterisation that holds the pictures of several of one kind and size."""
        kinds = list(dict.fromkeys(f"{type(param).__name__}({_listed(param.options())})" for param in params))
        if len(kinds) != 1:
            raise ValueError(
                f"parameterisations of one kind, size and options can be joined, not {' and '.join(kinds) or 'none'}"
            )
        if len(params) == 1:
            return params[0]
        joined = copy.deepcopy(params[0])
        joined.batch = sum(param.batch for param in params)
        joined.holds_picture = any(param.holds_picture for param in params)
        for name, parameter in joined.named_parameters():
            parameter.data = torch.cat([param.get_parameter(name).data for param in params])
            parameter.grad = None
        return joined

    def take(self, pictures: Sequence[int]) -> Param:
        """A parameterisation of some of the pictures, in this order; itself where that is all of them."""
        which = list(pictures)
        if which == list(range(self.batch)):
            return self
        slices = {id(p): torch.nn.Parameter(p.detach()[which]) for p in self.parameters()}
        taken = copy.deepcopy(self, slices)  # what is not taken is not copied either
        taken.batch = len(which)
        return taken

    def extra_repr(self) -> str:
        return _listed({"batch": self.batch, **self.options()})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


def noise(shape: Sequence[int], seed: int | Sequence[int], batch: int) -> Tensor:
    """``[batch, *shape]`` of standard normal numbers, each picture from a generator of its own seed.

    Args:
        seed: of the first picture, the others counting on from it; or one for each.
    """
    seeds = [seed + i for i in range(batch)] if isinstance(seed, int) else list(seed)
    if len(seeds) != batch:
        raise ValueError(f"{len(seeds)} seeds for {batch} pictures: give one for each, or the first alone")
    return torch.stack([torch.randn(tuple(shape), generator=torch.Generator().manual_seed(s)) for s in seeds])


def _listed(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items())
