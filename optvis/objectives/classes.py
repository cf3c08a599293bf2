"""An objective on what a network says an image is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .algebra import Shape
from .layers import Channel, index, pick


@dataclass(frozen=True, eq=False, repr=False)
class Class(Channel):
    """A class, told from all others: o - r max(others) + T log p, with p the class's share of softmax(o / T).

    An output o alone climbs by what several classes have in common, and a picture of one dog may please another dog's
    output more: so a share r of the highest other one is taken away. The logarithm weighs only while the network
    doubts the class. That keeps the balance in a sum: ``Class("pattern", "dots") + Class("colour", "green")`` gives up
    neither for the other.

    Args:
        layer: address or module of the layer that puts out a number for each class (the mean, where it puts out
            maps); ``""`` is the network's own output.
        channel: the class: index (negative counts from the end) or, where the network names its outputs, name. A list
            makes a batch of pictures, one for each.
        rival: r, how much of the highest other output is taken away, 0 or more.
        temperature: T, by how much an output has to stand out from the others for the doubt to end; 0 leaves the
            logarithm out.
    """

    rival: float = 0.5
    temperature: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rival", "temperature"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and 0 <= value < math.inf):
                raise ValueError(f"{name} {value!r}: give a number of at least 0")

    def score(self, seen: Mapping[str, Tensor]) -> Tensor:
        outputs = self.seen(seen)
        outputs = outputs.flatten(2).mean(2) if outputs.dim() > 2 else outputs
        channels = self.channel if isinstance(self.channel, tuple) else (self.channel,)
        numbers = torch.arange(outputs.shape[1], device=outputs.device)
        own = numbers == index(channels, outputs.device)[:, None]  # type: ignore[arg-type]
        score = pick(outputs, self.channel) - self.rival * outputs.masked_fill(own, -torch.inf).amax(1)
        if self.temperature:
            score = score + self.temperature * pick((outputs / self.temperature).log_softmax(1), self.channel)
        return score

    def bound(self, shapes: Mapping[str, Shape], full: Mapping[str, Shape]) -> Class:
        count = full[self.layers[0]].shape[0]
        if count < 2:
            raise ValueError(
                f"layer {self.layers[0]!r} puts out {count} number: there is no other class to tell from; "
                "use Channel(layer, 0), or -Channel(layer, 0)"
            )
        return super().bound(shapes, full)  # type: ignore[return-value]
