"""The common fields of objectives, ``channel``, ``vector`` and ``position``: reading them and fitting them to a layer.

``Objective`` applies these functions to the fields of those names, so that a new objective gets checks, batches and
negative indices without further code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import MOST, whole
from ..names import index_of
from ..network import LayerShape

ChannelIndex = int | str | tuple[int | str, ...]
Position = int | tuple[int, ...]


def as_channel(channel: Any) -> ChannelIndex | None:
    """A number, a name, or a tuple of these (one for each picture) from a list, range or array."""
    if isinstance(channel, (list, tuple, range)) or getattr(channel, "ndim", 0) == 1:
        count = len(channel[: MOST + 1])  # len() fails for a range above sys.maxsize
        if count == 0:
            raise ValueError("an empty list of channels makes no picture: name at least one channel")
        if count > MOST:
            raise ValueError(f"too many channels, {channel!r:.60}: a batch has at most {MOST} pictures")
        return tuple(_one_channel(c) for c in channel)
    return None if channel is None else _one_channel(channel)


def _one_channel(channel: Any) -> int | str:
    number = str(channel) if isinstance(channel, str) else whole(channel)
    if number is None:
        raise TypeError(f"a channel is a number or a name, not {channel!r}")
    return number


def channel_index(channel: ChannelIndex, layer: str, shape: LayerShape) -> int | tuple[int, ...]:
    """Names and negative numbers as indices; raises ``ValueError`` on a channel that the layer does not have."""
    if isinstance(channel, tuple):
        return tuple(channel_index(c, layer, shape) for c in channel)  # type: ignore[misc]
    count, names = shape.shape[0], shape.names
    if isinstance(channel, int):
        if not -count <= channel < count:
            raise ValueError(f"no channel {channel} in layer {layer!r}: it has {count}, numbered 0 to {count - 1}")
        return channel % count
    if names is None:
        raise ValueError(
            f"no channel {channel!r}: layer {layer!r} has no names for its channels: give a number from 0 to "
            f"{count - 1}, or names="
        )
    return channel_of_name(channel, layer, names)


def channel_of_name(name: str, layer: str, names: Sequence[str]) -> int:
    """The channel of a name; raises ``ValueError`` with the nearest names if the layer has none of that name."""
    lacking = f"layer {layer!r} has no channel named" if layer else "the network has no class named"
    return index_of(name, names, f"{lacking} {name!r}")


def as_vector(vector: Any) -> Tensor:
    """``[C]``, or ``[N, C]`` for N pictures, in float32; raises ``ValueError`` on anything else."""
    try:
        read = torch.as_tensor(vector, dtype=torch.float32, device="cpu").detach().clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"a direction is a finite vector [C] or [N, C]: {error}") from error
    if read.dim() not in (1, 2) or not torch.isfinite(read).all() or not read.any():
        raise ValueError(f"a direction is a finite vector [C] or [N, C], not all zero; got {list(read.shape)}")
    return read


def check_vector(vector: Tensor, layer: str, shape: LayerShape) -> None:
    """Raise ``ValueError`` unless a vector has one number for each channel of the layer."""
    if vector.shape[-1] != shape.shape[0]:
        raise ValueError(f"the direction has {vector.shape[-1]} numbers, layer {layer!r} has {shape.shape[0]} channels")


def as_position(position: Any) -> Position | None:
    """A whole number or a tuple of them; raises ``TypeError`` on anything else."""
    if isinstance(position, (list, tuple)) or getattr(position, "ndim", 0) == 1:
        return tuple(_coordinate(n) for n in position)
    return None if position is None else _coordinate(position)


def _coordinate(value: Any) -> int:
    number = whole(value)
    if number is None:
        raise TypeError(f"a neuron's position is a whole number or a pair of them, not {value!r}")
    return number


def place(position: Position | None, layer: str, shape: LayerShape, final: LayerShape) -> Position | None:
    """The position in the current map that corresponds to a position in the final map; by default the centre.

    ``shape`` and ``final`` are those of the layer's output at the current size and at the final size, to which the
    position refers. Raises ``ValueError`` if the layer has no such position.
    """
    extent, here = final.shape[1:], shape.shape[1:]
    if len(extent) == 2:
        return _point(position, layer, extent, here)
    if len(extent) == 1:
        return _token(position, layer, shape, final)
    if extent:
        raise ValueError(f"layer {layer!r} puts out {final.shape}: a neuron needs a map or tokens")
    if position is not None:
        raise ValueError(
            f"neuron {position!r} of layer {layer!r}: its output has {final.shape[0]} units and no positions; give "
            "only the number of the unit, as neuron or as channel"
        )
    return None


def _token(position: Position | None, layer: str, shape: LayerShape, final: LayerShape) -> int:
    """The index of a token; the last tokens are patches, which have a position in a grid."""
    extent, here, grid, grid_here = final.shape[1:], shape.shape[1:], final.grid, shape.grid
    if isinstance(position, int):
        (position,) = _within((position,), layer, extent)
    if grid is None or grid_here is None:
        if isinstance(position, tuple):
            raise ValueError(
                f"neuron {position!r} of layer {layer!r}: its {extent[0]} tokens form no grid; give one number"
            )
        return here[0] // 2 if position is None else _moved((position,), extent, here)[0]
    if isinstance(position, int):
        further = extent[0] - grid[0] * grid[1]
        if position < further:
            return position  # class and register tokens have the same index at every size
        position = divmod(position - further, grid[1])
    y, x = _point(position, layer, grid, grid_here)
    return here[0] - grid_here[0] * grid_here[1] + y * grid_here[1] + x


def _point(position: Position | None, layer: str, grid: Sequence[int], here: Sequence[int]) -> tuple[int, ...]:
    """(y, x) in a map of size ``here`` from a position in a map of size ``grid``."""
    if position is None:
        return (here[0] // 2, here[1] // 2)
    pair = (position, position) if isinstance(position, int) else position
    return _moved(_within(pair, layer, grid), grid, here)


def _within(position: tuple[int, ...], layer: str, extent: Sequence[int]) -> tuple[int, ...]:
    """A position without negative numbers."""
    shown = position if len(position) > 1 else next(iter(position), ())
    if len(position) != len(extent):
        raise ValueError(f"neuron {shown!r} of layer {layer!r}: give {len(extent)} numbers for its map {tuple(extent)}")
    if not all(-n <= p < n for p, n in zip(position, extent, strict=True)):
        raise ValueError(f"neuron {shown!r} lies outside the map {tuple(extent)} of layer {layer!r}")
    return tuple(p % n for p, n in zip(position, extent, strict=True))


def _moved(place: Sequence[int], old: Sequence[int], new: Sequence[int]) -> tuple[int, ...]:
    return tuple(min(int((p + 0.5) * b / a), b - 1) for p, a, b in zip(place, old, new, strict=True))
