"""An objective on what a network says an image is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..checks import as_number
from .algebra import Objective, objective
from .fields import Shape
from .layers import Channel, index, pick


@objective
class Class(Channel):
    """A class, told from all others: o - r max(others) + T log p, with p the class's share of softmax(o / T).

    The output o alone also rises with what several classes have in common, and a picture of one breed of dog may raise
    the output of another breed more. So a share r of the highest other output is subtracted. The logarithm matters
    only while the network doubts the class, which keeps a sum balanced: a picture of ``Class("pattern", "dots") +
    Class("colour", "green")`` shows both.

    Args:
        layer: address or module of the layer that puts out a number for each class (the mean, where it puts out
            maps); ``""`` is the network's own output.
        channel: the class: index (negative counts from the end) or, where the network names its outputs, name. A list
            makes a batch of pictures, one for each.
        rival: r, the share of the highest other output that is subtracted, 0 or more.
        temperature: T, by how much an output has to exceed the others for the doubt to end; 0 leaves out the logarithm.
    """

    rival: float = 0.5
    temperature: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rival", "temperature"):
            as_number(name, getattr(self, name), low=0)

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        outputs = self.activation(activations)
        outputs = outputs.flatten(2).mean(2) if outputs.dim() > 2 else outputs
        channels = self.channel if isinstance(self.channel, tuple) else (self.channel,)
        numbers = torch.arange(outputs.shape[1], device=outputs.device)
        own = numbers == index(channels, outputs.device)[:, None]
        score = pick(outputs, self.channel) - self.rival * outputs.masked_fill(own, -torch.inf).amax(1)
        if self.temperature:
            score = score + self.temperature * pick((outputs / self.temperature).log_softmax(1), self.channel)
        return score

    def bound(self, shapes: Mapping[str, Shape], full: Mapping[str, Shape]) -> Objective:
        count = self.shape_in(full).shape[0]
        if count < 2:
            raise ValueError(
                f"layer {self.layers[0]!r} puts out {count} number: there is no other class to tell from; "
                "use Channel(layer, 0), or -Channel(layer, 0)"
            )
        return super().bound(shapes, full)
