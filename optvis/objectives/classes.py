"""An objective for a class of a classifier."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..checks import as_number
from ..network import LayerShape
from .algebra import Objective, objective
from .layers import Channel, index, pick


@objective
class Class(Channel):
    """A class in contrast to all others: o - r max(others) + T log p, with p = softmax(o / T) at the class.

    The output o alone also rises with features that several classes share: a picture of one breed of dog may raise the
    output of another breed more. So the highest other output, times r, is subtracted. The logarithm has an effect only
    while p is well below 1, which balances sums: a picture of ``Class("pattern", "dots") + Class("colour", "green")``
    shows both.

    Args:
        layer: that with an output for each class (maps are averaged); ``""`` is the network's own output.
        channel: the class, as for ``Channel``.
        rival: r, the factor of the highest other output, 0 or more.
        temperature: T, the scale of differences between outputs at which p approaches 1; 0 leaves out the logarithm.
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

    def bound(self, shapes: Mapping[str, LayerShape], full: Mapping[str, LayerShape]) -> Objective:
        count = self.shape_in(full).shape[0]
        if count < 2:
            raise ValueError(
                f"layer {self.layers[0]!r} puts out {count} number, so there is no other class: use Channel(layer, 0)"
            )
        return super().bound(shapes, full)
