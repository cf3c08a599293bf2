"""Objectives on a layer's activations: all of them, a channel, a neuron, a direction, DeepDream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from typing import Any, Literal, ParamSpec

import torch
from torch import Tensor, nn

from ..checks import as_number, choice
from ..network import LayerShape
from ..network.addresses import Address
from .algebra import READERS, Objective, objective, refuse_network
from .fields import ChannelIndex, Position

P = ParamSpec("P")


@objective
class Layer(Objective):
    """The mean of all activations of a layer, given by address or module."""

    layer: str | nn.Module

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        return mean(self.activation(activations))


@objective
class DeepDream(Objective):
    """The mean square of all activations of a layer, which amplifies the features that the layer already detects.

    Mordvintsev, Olah, Tyka, "Inceptionism: going deeper into neural networks", 2015.
    """

    layer: str | nn.Module

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        return mean(self.activation(activations).square())


@objective
class Channel(Objective):
    """The mean of one channel over all positions (for a fully connected layer, one unit).

    ``channel`` is an index (negative counts from the end) or, if the network names its outputs, a name. A list makes a
    batch of pictures, one for each.
    """

    layer: str | nn.Module
    channel: ChannelIndex

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        return mean(pick(self.activation(activations), self.channel))


@objective
class Neuron(Objective):
    """One unit: one position of a channel, or one unit of a fully connected layer.

    ``channel`` is as for ``Channel``; ``None`` takes the mean over all channels. ``position`` is ``(y, x)`` in the
    layer's map at the picture's final size; ``y`` alone is ``(y, y)``; ``None`` is the centre. For tokens, a number is
    the index of a token (0 is the class token, if there is one) and a pair is a position in the grid of patches. A
    fully connected layer has no positions.
    """

    layer: str | nn.Module
    channel: ChannelIndex | None
    position: Position | None = None

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        activation = self.activation(activations)
        if activation.dim() > 2:
            position = self.position if isinstance(self.position, tuple) else (self.position,)
            where: Any = (..., *position)
            activation = activation[where]
        return activation.mean(1) if self.channel is None else pick(activation, self.channel)

    def bound(self, shapes: Mapping[str, LayerShape], full: Mapping[str, LayerShape]) -> Objective:
        if len(self.shape_in(full).shape) == 1 and self.channel is None and isinstance(self.position, int):
            # In a fully connected layer, the number is that of the unit.
            return self._with(channel=self.position, position=None).bound(shapes, full)
        return super().bound(shapes, full)


@objective
class Direction(Objective):
    """The similarity of a vector over channels to the activation at each position; the mean over positions.

    Args:
        layer: address or module.
        vector: ``[C]``, or ``[N, C]`` for a batch of N pictures.
        similarity: ``"dot"``, ``"cosine"``, or ``"dot_cosine"``: dot × max(cosine, 0.1)^power, which is high only if
            the activation has this direction and few other components (Lucid's ``cossim_pow``; Carter et al.,
            "Activation Atlas", 2019). The lower limit of 0.1 avoids powers of negative numbers and zero gradients.
        power: the power of the cosine.
    """

    layer: str | nn.Module
    vector: Any
    similarity: Literal["dot", "cosine", "dot_cosine"] = "dot"
    power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("similarity", self.similarity, ("dot", "cosine", "dot_cosine"))
        as_number("power", self.power)

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        activation = self.activation(activations)
        activation = activation.flatten(2) if activation.dim() > 2 else activation[..., None]
        vector: Tensor = self.vector.to(activation.device).expand(activation.shape[0], -1)[..., None]
        dot = (activation * vector).sum(1)
        if self.similarity == "dot":
            return dot.mean(1)
        cosine: Tensor = dot / (activation.norm(dim=1) * vector.norm(dim=1)).clamp_min(1e-6)
        if self.similarity == "cosine":
            return cosine.mean(1)
        return (dot * cosine.clamp_min(0.1).pow(self.power)).mean(1)


def _without_network(make: Callable[P, Objective]) -> Callable[P, Objective]:
    """A function that makes objectives, and refuses a network before the layer."""

    @wraps(make)
    def checked(*given: P.args, **named: P.kwargs) -> Objective:
        refuse_network(make.__name__, given, named)
        return make(*given, **named)

    return checked


@_without_network
def LayerObjective(
    layer: str | nn.Module,
    channel: int | str | Sequence[int | str] | None = None,
    neuron: int | Sequence[int] | None = None,
) -> Objective:
    """A ``Layer``, ``Channel`` or ``Neuron``, depending on the arguments; ``"features/18:12"`` also names the channel.

    ``neuron`` is the position of a ``Neuron``, or the unit of a fully connected layer.
    """
    if isinstance(layer, str):
        address, given = Address.parse(layer), layer
        layer = address.layer
        if address.index is not None:
            if channel not in (None, address.index):
                raise ValueError(f"layer {given!r} names channel {address.index!r} and channel= says {channel!r}")
            channel = address.index
    if neuron is not None:
        return Neuron(layer, channel, neuron)  # type: ignore[arg-type]
    return Layer(layer) if channel is None else Channel(layer, channel)  # type: ignore[arg-type]


DeepDreamObjective = DeepDream
READERS[str] = LayerObjective


def pick(activation: Tensor, channel: Any) -> Tensor:
    """One channel ``[N, ...]`` of ``[N, C, ...]``, the same for all pictures or one for each."""
    if isinstance(channel, int):
        return activation[:, channel]
    places = index(channel, activation.device).view(-1, *[1] * (activation.dim() - 1))
    return activation.gather(1, places.expand(-1, 1, *activation.shape[2:])).squeeze(1)


@lru_cache(maxsize=64)
def index(channels: tuple[int, ...], device: torch.device) -> Tensor:
    """The channels of a batch as a tensor, which is kept."""
    with torch.inference_mode(False):  # autograd cannot use tensors made in inference mode
        return torch.tensor(channels, device=device)


def mean(activation: Tensor) -> Tensor:
    """``[N]``: the mean over all but the first axis."""
    return activation.reshape(activation.shape[0], -1).mean(1)
