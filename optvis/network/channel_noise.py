"""Noise within the network: its channels scaled at random, so that no picture leans on its exact weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..rng import Rng
from .overrides import Overrides

_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
_WEIGHTED = (*_CONVOLUTIONS, F.linear)


class channel_noise(Overrides):
    """Within the block every channel that a convolution or fully connected layer puts out is scaled at random.

    A picture that has to work on many networks, all a little different, shows what they have in common: the thing,
    and not the accidents of one network's weights. After the ghost networks of Li et al., "Learning Transferable
    Adversarial Examples via Ghost Networks", 2020, who scale the skip connections of a network.

    Nothing of the network or of torch is patched. Layers that work within a fused call (attention's own projections,
    recurrent cells) are left as they are.

    Args:
        gain: called with a number of channels ``C``; gives ``[N, C]`` factors around 1, or ``[1, C]`` where all
            pictures share them.
    """

    def __init__(self, gain: Callable[[int], Tensor]) -> None:
        convolved = partial(self._noisy, 1)
        super().__init__({**dict.fromkeys(_CONVOLUTIONS, convolved), F.linear: partial(self._noisy, -1)})
        self.gain = gain

    def _noisy(self, axis: int, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(args) < 2:
            return function(*args, **kwargs)
        image, weight, *others = args
        gain = self.gain(len(weight))
        gain = gain if gain.dtype == weight.dtype else gain.to(weight.dtype)
        if len(gain) == 1 and weight.numel() * len(image) < image.numel():
            # Fewer numbers to scale than in what the layer puts out.
            bias = others[0] if others else kwargs.pop("bias", None)
            weight = weight * gain.view(-1, *[1] * (weight.dim() - 1))
            bias = bias * gain.view(-1) if bias is not None else None
            return function(image, weight, bias, *others[1:], **kwargs)
        out = function(*args, **kwargs)
        if len(gain) > 1:
            if len(out) % len(gain):
                return out  # the pictures do not stand along the first axis
            gain = gain.repeat_interleave(len(out) // len(gain), 0)  # windows of Swin
        shape = [len(gain)] + [1] * (out.dim() - 1)
        shape[axis] = gain.shape[1]
        return out.mul_(gain.view(shape)) if out.requires_grad else out * gain.view(shape)


class weighted_channels(Overrides):
    """Notes how many channels each layer puts out that ``channel_noise`` would scale, in the order of their calls."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(_WEIGHTED, self._noted))
        self.channels: list[int] = []

    def _noted(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(args) > 1:
            self.channels.append(len(args[1]))
        return function(*args, **kwargs)


def random_noise(amount: float, expected: Sequence[int], rng: Rng, dtype: torch.dtype) -> Overrides:
    """``channel_noise`` for one forward pass, with factors between 1 - ``amount`` and 1 + ``amount``.

    Args:
        amount: 0 for none.
        expected: numbers of channels of the layers, in the order of their calls, as ``weighted_channels`` notes them.
        rng: random numbers of the pictures.
        dtype: the type in which the network computes.
    """
    if not amount:
        return Overrides({})
    shared = 1 if len(rng.generators) == 1 else None

    def draw(channels: int) -> Tensor:
        return rng.uniform(1 - amount, 1 + amount, channels)[:shared].to(dtype)

    drawn = iter(draw(sum(expected)).split(list(expected), 1))  # all at once: a network has many layers

    def gain(channels: int) -> Tensor:
        numbers = next(drawn, None)
        return numbers if numbers is not None and numbers.shape[1] == channels else draw(channels)

    return channel_noise(gain)
