"""Objectives on what a layer puts out: all of it, a channel, a neuron, a direction, a dream."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .algebra import Objective, Shape, as_objective, earlier_equals, reads

ChannelIndex = int | str | tuple[int | str, ...]
Position = int | tuple[int, int]


@dataclass(frozen=True, eq=False, repr=False)
class _OfLayer(Objective):
    layer: str | nn.Module

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer,)  # type: ignore[return-value]

    def seen(self, seen: Mapping[str, Tensor]) -> Tensor:
        return seen[self.layer]  # type: ignore[index]


@dataclass(frozen=True, eq=False, repr=False)
class Layer(_OfLayer):
    """The mean of everything that a layer puts out."""

    def score(self, seen: Mapping[str, Tensor]) -> Tensor:
        return mean(self.seen(seen))


@dataclass(frozen=True, eq=False, repr=False)
class DeepDream(_OfLayer):
    """The mean square of everything that a layer puts out: whatever it sees already, more of it.

    Mordvintsev, Olah, Tyka, "Inceptionism: going deeper into neural networks", 2015.
    """

    def score(self, seen: Mapping[str, Tensor]) -> Tensor:
        return mean(self.seen(seen).square())


@dataclass(frozen=True, eq=False, repr=False)
class Channel(_OfLayer):
    """The mean of one channel over all positions (for a fully connected layer, one unit).

    Args:
        layer: address or module.
        channel: index (negative counts from the end) or, where the network names its outputs, name. A list makes a
            batch of pictures, one for each.
    """

    channel: ChannelIndex

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel", _frozen(self.channel))

    @property
    def pictures(self) -> int | None:
        return len(self.channel) if isinstance(self.channel, tuple) else None

    def score(self, seen: Mapping[str, Tensor]) -> Tensor:
        return mean(pick(self.seen(seen), self.channel))

    def bound(self, shapes: Mapping[str, Shape], full: Mapping[str, Shape]) -> Channel:
        return replace(self, channel=_indices(self.layers[0], self.channel, full[self.layers[0]]))

    def take(self, pictures: Sequence[int]) -> Channel:
        return replace(self, channel=_taken(self.channel, pictures))

    def twins(self, count: int) -> list[int]:
        return _twins(self.channel, count)


@dataclass(frozen=True, eq=False, repr=False)
class Neuron(_OfLayer):
    """One unit: one position of a channel, or one unit of a fully connected layer.

    Args:
        layer: address or module.
        channel: index, name or list of them (a batch); ``None`` takes the mean over all channels at the position.
        position: ``(y, x)`` in the layer's map at the picture's final size; ``y`` alone is ``(y, y)``; ``None`` the
            centre. For tokens a number is the token (0 the class token, where there is one) and a pair a place in
            the grid of patches. A fully connected layer has no positions.
    """

    channel: ChannelIndex | None
    position: Position | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel", _frozen(self.channel))
        object.__setattr__(self, "position", _whole(self.position))

    @property
    def pictures(self) -> int | None:
        return len(self.channel) if isinstance(self.channel, tuple) else None

    @property
    def placed(self) -> bool:
        return True

    def score(self, seen: Mapping[str, Tensor]) -> Tensor:
        activation = self.seen(seen)
        if activation.dim() > 2:
            place = self.position
            activation = activation[..., place[0], place[1]] if isinstance(place, tuple) else activation[..., place]
        return activation.mean(1) if self.channel is None else pick(activation, self.channel)

    def bound(self, shapes: Mapping[str, Shape], full: Mapping[str, Shape]) -> Neuron:
        layer = self.layers[0]
        shape, final = shapes[layer], full[layer]
        channel, position = self.channel, self.position
        if len(final.shape) == 1:
            if channel is None:
                channel, position = position, None  # a fully connected layer: the neuron is the unit
            if position is not None or (isinstance(channel, tuple) and self.channel is None):
                raise ValueError(
                    f"neuron {self.position!r} of layer {layer!r}: its output has {final.shape[0]} units and no "
                    "positions; give the unit's number, as neuron or as channel, and nothing else"
                )
        if channel is not None:
            channel = _indices(layer, channel, final)
        return replace(self, channel=channel, position=_place(layer, position, shape, final))

    def take(self, pictures: Sequence[int]) -> Neuron:
        return replace(self, channel=_taken(self.channel, pictures))

    def twins(self, count: int) -> list[int]:
        return _twins(self.channel, count)


@dataclass(frozen=True, eq=False, repr=False)
class Direction(_OfLayer):
    """A vector over a layer's channels, compared at each position with the activation there; the mean over positions.

    Args:
        layer: address or module.
        vector: ``[C]``, or ``[N, C]`` for a batch of N pictures.
        similarity: ``"dot"``, ``"cosine"``, or ``"dot_cosine"``: dot × max(cosine, 0.1)^power, which asks for the
            direction and for little beside it (Lucid's ``cossim_pow``; Carter et al., "Activation Atlas", 2019).
            The floor keeps the power of a negative number from arising and the gradient alive.
        power: the power of the cosine.
    """

    vector: Any
    similarity: Literal["dot", "cosine", "dot_cosine"] = "dot"
    power: float = 2.0

    def __post_init__(self) -> None:
        vector = torch.as_tensor(self.vector, dtype=torch.float32).detach().cpu()
        if vector.dim() not in (1, 2) or not torch.isfinite(vector).all() or not vector.any():
            raise ValueError(f"a direction is a finite vector [C] or [N, C], not all zero; got {list(vector.shape)}")
        if self.similarity not in ("dot", "cosine", "dot_cosine"):
            raise ValueError(f"similarity {self.similarity!r}: choose 'dot', 'cosine' or 'dot_cosine'")
        object.__setattr__(self, "vector", vector)

    @property
    def pictures(self) -> int | None:
        return self.vector.shape[0] if self.vector.dim() == 2 else None

    def score(self, seen: Mapping[str, Tensor]) -> Tensor:
        activation = self.seen(seen).flatten(2) if self.seen(seen).dim() > 2 else self.seen(seen)[..., None]
        vector = self.vector.to(activation.device).expand(activation.shape[0], -1)[..., None]
        dot = (activation * vector).sum(1)
        if self.similarity == "dot":
            return dot.mean(1)
        cosine = dot / (activation.norm(dim=1) * vector.norm(dim=1)).clamp_min(1e-6)
        if self.similarity == "cosine":
            return cosine.mean(1)
        return (dot * cosine.clamp_min(0.1) ** self.power).mean(1)

    def bound(self, shapes: Mapping[str, Shape], full: Mapping[str, Shape]) -> Direction:
        channels = full[self.layers[0]].shape[0]
        if self.vector.shape[-1] != channels:
            raise ValueError(
                f"the direction has {self.vector.shape[-1]} numbers, layer {self.layers[0]!r} has {channels} channels"
            )
        return self

    def take(self, pictures: Sequence[int]) -> Direction:
        return self if self.vector.dim() == 1 else replace(self, vector=self.vector[list(pictures)])

    def twins(self, count: int) -> list[int]:
        return list(range(count)) if self.vector.dim() == 1 else earlier_equals(self.vector.tolist())


def LayerObjective(
    layer: str | nn.Module,
    channel: int | str | Sequence[int | str] | None = None,
    neuron: int | Sequence[int] | None = None,
) -> Objective:
    """``Layer``, ``Channel`` or ``Neuron``, by what is given; ``"features/18:12"`` names layer and channel at once.

    Args:
        layer: address or module.
        channel: index, name, or list of these (one picture for each).
        neuron: position in the map (``y`` alone is ``(y, y)``) or unit of a fully connected layer.
    """
    if isinstance(layer, str):
        found = as_objective(layer)
        if isinstance(found, Channel):
            if channel is not None and channel != found.channel:
                raise ValueError(f"layer {layer!r} names channel {found.channel!r} and channel= says {channel!r}")
            layer, channel = found.layer, found.channel
    if neuron is not None:
        return Neuron(layer, channel, neuron)  # type: ignore[arg-type]
    return Layer(layer) if channel is None else Channel(layer, channel)  # type: ignore[arg-type]


DeepDreamObjective = DeepDream


@reads(str)
def _read_string(text: str) -> Objective:
    address, colon, channel = text.partition(":")
    if not colon:
        return Layer(address)
    channel = channel.strip()
    if not address.strip() or not channel:
        raise ValueError(f"{text!r} names no objective: write 'layer' or 'layer:channel'")
    return Channel(address, channel_of(channel))


def channel_of(text: str) -> int | str:
    """A channel as it is written: a number, or a name."""
    return int(text) if re.fullmatch("-?[0-9]{1,18}", text) else text


def _whole(position: Any) -> Any:
    if isinstance(position, (list, tuple)):
        return tuple(_whole(n) for n in position)
    if position is None or (isinstance(position, Integral) and not isinstance(position, bool)):
        return position if position is None else int(position)
    raise TypeError(f"a neuron's position is a whole number or a pair of them, not {position!r}")


def _frozen(channel: Any) -> Any:
    if isinstance(channel, (list, range, tuple)):
        if not channel:
            raise ValueError("an empty list of channels makes no picture: name at least one channel")
        return tuple(_frozen(c) for c in channel)
    if channel is None or isinstance(channel, str):
        return channel
    if isinstance(channel, bool) or int(channel) != channel:
        raise TypeError(f"a channel is a number or a name, not {channel!r}")
    return int(channel)


def _indices(layer: str, channel: Any, shape: Shape) -> Any:
    """Names and negative numbers as indices; raises on a channel that the layer does not have."""
    if isinstance(channel, tuple):
        return tuple(_indices(layer, c, shape) for c in channel)
    count = shape.shape[0]
    if isinstance(channel, str):
        if shape.names is None:
            raise ValueError(f"layer {layer!r} has no names for its channels: give a number from 0 to {count - 1}")
        if channel not in shape.names:
            near = difflib.get_close_matches(channel, shape.names, n=3, cutoff=0.4) or shape.names[:5]
            raise ValueError(f"layer {layer!r} has no channel named {channel!r}: did you mean {' or '.join(near)}?")
        return shape.names.index(channel)
    if not -count <= channel < count:
        raise ValueError(f"no channel {channel} in layer {layer!r}: it has {count}, numbered 0 to {count - 1}")
    return channel % count


def _place(layer: str, position: Position | None, shape: Shape, final: Shape) -> Position | None:
    """A position given for the final map, carried to the map at hand; the centre by default."""
    extent, here = final.shape[1:], shape.shape[1:]
    if not extent:
        return None
    grid_here = shape.grid if len(extent) == 1 else here
    grid = final.grid if len(extent) == 1 else extent
    if isinstance(position, int) and len(extent) == 1:
        _check(layer, position, extent)
        position %= extent[0]
        if grid is None or grid_here is None:
            return _moved((position,), extent, here)[0]
        further = extent[0] - grid[0] * grid[1]
        if position < further:
            return position  # a class or register token is the same one at every size
        position = divmod(position - further, grid[1])
    if grid is None or grid_here is None:
        if position is not None:
            raise ValueError(
                f"neuron {position!r} of layer {layer!r}: its {extent[0]} tokens form no grid; give one number"
            )
        return here[0] // 2
    if len(grid) != 2:
        raise ValueError(f"layer {layer!r} puts out {final.shape}: a neuron needs a map or tokens")
    if position is None:
        place = (grid_here[0] // 2, grid_here[1] // 2)
    else:
        pair = (position, position) if isinstance(position, int) else position
        _check(layer, pair, grid)
        y, x = _moved([p % n for p, n in zip(pair, grid)], grid, grid_here)
        place = (y, x)
    if len(extent) == 1:  # the patches are the last tokens
        return here[0] - grid_here[0] * grid_here[1] + place[0] * grid_here[1] + place[1]
    return place


def _check(layer: str, position: Position, extent: Sequence[int]) -> None:
    pair = (position,) if isinstance(position, int) else position
    if len(pair) != len(extent):
        raise ValueError(
            f"neuron {position!r} of layer {layer!r}: give {len(extent)} numbers for its map {tuple(extent)}"
        )
    for p, n in zip(pair, extent):
        if not -n <= p < n:
            raise ValueError(f"neuron {position!r} lies outside the map {tuple(extent)} of layer {layer!r}")


def _moved(place: Sequence[int], old: Sequence[int], new: Sequence[int]) -> tuple[int, ...]:
    return tuple(min(int((p + 0.5) * b / a), b - 1) for p, a, b in zip(place, old, new))


def _taken(channel: Any, pictures: Sequence[int]) -> Any:
    return tuple(channel[i] for i in pictures) if isinstance(channel, tuple) else channel


def _twins(channel: Any, count: int) -> list[int]:
    return earlier_equals(channel) if isinstance(channel, tuple) else list(range(count))


def pick(activation: Tensor, channel: Any) -> Tensor:
    """One channel ``[N, ...]`` of ``[N, C, ...]``, or for each picture its own."""
    if isinstance(channel, int):
        return activation[:, channel]
    places = index(channel, activation.device).view(-1, *[1] * (activation.dim() - 1))
    return activation.gather(1, places.expand(-1, 1, *activation.shape[2:])).squeeze(1)


@lru_cache(maxsize=64)
def index(channels: tuple[int, ...], device: torch.device) -> Tensor:
    """The channels of a batch as a tensor, made once."""
    return torch.tensor(channels, device=device)


def mean(activation: Tensor) -> Tensor:
    """``[N]``: the mean over all but the first axis."""
    return activation.reshape(activation.shape[0], -1).mean(1)
