"""An objective on what a network says an image is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .algebra import Shape
from .layers import Channel, index, pick


@dataclass(frozen=True, eq=False, repr=False)
class Class(Channel):
    """A class, told from all others: its output less a share of the highest other one.

    An output alone climbs by what several classes have in common, and a picture of one dog may please another dog's
    output more.

    Args:
        layer: address or module of the layer that puts out a number for each class (the mean, where it puts out
            maps); ``""`` is the network's own output.
        channel: the class: index (negative counts from the end) or, where the network names its outputs, name. A list
            makes a batch of pictures, one for each.
        rival: how much of the highest other output is taken away, 0 or more.
    """

    rival: float = 0.5

    def score(self, seen: Mapping[str, Tensor]) -> Tensor:
        outputs = self.seen(seen)
        outputs = outputs.flatten(2).mean(2) if outputs.dim() > 2 else outputs
        channels = self.channel if isinstance(self.channel, tuple) else (self.channel,)
        numbers = torch.arange(outputs.shape[1], device=outputs.device)
        own = numbers == index(channels, outputs.device)[:, None]  # type: ignore[arg-type]
        return pick(outputs, self.channel) - self.rival * outputs.masked_fill(own, -torch.inf).amax(1)

    def bound(self, shapes: Mapping[str, Shape], full: Mapping[str, Shape]) -> Class:
        count = full[self.layers[0]].shape[0]
        if count < 2:
            raise ValueError(
                f"layer {self.layers[0]!r} puts out {count} number: there is no other class to tell from; "
                "use Channel(layer, 0), or -Channel(layer, 0)"
            )
        return super().bound(shapes, full)  # type: ignore[return-value]
