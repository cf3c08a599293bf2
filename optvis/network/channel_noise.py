"""Channel noise: random scaling of a network's channels, so that pictures do not depend on its exact weights."""

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
    """Within the block every output channel of convolutions and fully connected layers is scaled at random.

    A picture that is optimised on many slightly different networks shows the features that they share rather than
    details of the exact weights. After the ghost networks of Li et al., "Learning Transferable Adversarial Examples
    via Ghost Networks", 2020, who scale the skip connections of a network.

    Neither the network nor torch is patched. Layers within a fused call (the projections of attention, recurrent
    cells) are not scaled.

    Args:
        gain: called with a number of channels ``C``; returns ``[N, C]`` factors around 1, or ``[1, C]`` if all
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
            # Scaling the weights is cheaper than scaling the output.
            bias = others[0] if others else kwargs.pop("bias", None)
            weight = weight * gain.view(-1, *[1] * (weight.dim() - 1))
            bias = bias * gain.view(-1) if bias is not None else None
            return function(image, weight, bias, *others[1:], **kwargs)
        out = function(*args, **kwargs)
        if len(gain) > 1:
            if len(out) % len(gain):
                return out  # the pictures are not along the first axis
            gain = gain.repeat_interleave(len(out) // len(gain), 0)  # windows of a picture, as in Swin
        shape = [len(gain)] + [1] * (out.dim() - 1)
        shape[axis] = gain.shape[1]
        return out.mul_(gain.view(shape)) if out.requires_grad else out * gain.view(shape)


class weighted_channels(Overrides):
    """Records the number of output channels of each layer that ``channel_noise`` scales, in the order of the calls."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(_WEIGHTED, self._noted))
        self.channels: list[int] = []

    def _noted(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(args) > 1:
            self.channels.append(len(args[1]))
        return function(*args, **kwargs)


def random_noise(amount: float, expected: Sequence[int], rng: Rng, dtype: torch.dtype) -> Overrides:
    """``channel_noise`` for one forward pass in a type, with factors between 1 - ``amount`` and 1 + ``amount``.

    ``expected`` are the numbers of channels of the layers' calls, as ``weighted_channels`` records them.
    """
    if not amount:
        return Overrides({})
    shared = 1 if len(rng.generators) == 1 else None

    def draw(channels: int) -> Tensor:
        return rng.uniform(1 - amount, 1 + amount, channels)[:shared].to(dtype)

    drawn = iter(draw(sum(expected)).split(list(expected), 1))  # one call for all layers, which is faster

    def gain(channels: int) -> Tensor:
        numbers = next(drawn, None)
        return numbers if numbers is not None and numbers.shape[1] == channels else draw(channels)

    return channel_noise(gain)
