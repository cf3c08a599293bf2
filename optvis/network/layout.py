"""The batch axis and the channel axis of a layer's output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from .shadow import hooks_of

_SAME = 0.02
"""The largest difference between an image's activations in a batch and alone, as a fraction of their norm."""


class Layout(NamedTuple):
    """The order of the axes of a layer's output.

    Attributes:
        batch: axis of the batch.
        channel: axis of the channels.
        rows: number of rows of the batch axis that belong to one image: 1, or the number of windows.
        image_major: True if the rows of an image are adjacent (``[N * rows]``), False for ``[rows * N]``.
    """

    batch: int = 0
    channel: int = 1
    rows: int = 1
    image_major: bool = True

    def channels_first(self, activation: Tensor) -> Tensor:
        """``[N, C, ...]``, or ``[N, C, rows, ...]`` if an image has several rows."""
        if (self.batch, self.channel) != (0, 1):
            activation = activation.movedim((self.batch, self.channel), (0, 1))
        if self.rows == 1:
            return activation
        if len(activation) % self.rows:
            raise ValueError(
                f"a layer that put out {self.rows} rows an image puts out {len(activation)} now: its number of rows "
                "depends on the content of the image, so it cannot be drawn"
            )
        rows: Tensor = activation.unflatten(0, (-1, self.rows) if self.image_major else (self.rows, -1))
        return rows.movedim(1 if self.image_major else 0, 2)

    def original(self, activation: Tensor) -> Tensor:
        """The reverse of ``channels_first``."""
        if self.rows > 1:
            activation = activation.movedim(2, 1 if self.image_major else 0).flatten(0, 1)
        return activation.movedim((0, 1), (self.batch, self.channel))


class Call(NamedTuple):
    """One call of a module in a forward pass: the module and the shape of its output."""

    module: nn.Module
    shape: tuple[int, ...]


def batch_layout(one: Tensor, two: Tensor, exact: bool) -> tuple[int, int, bool] | None:
    """The batch axis, the number of rows of an image, and whether these are adjacent.

    They are found from a layer's output for one image and for this and another one; by shapes alone unless ``exact``,
    for a network that draws random numbers. ``None`` if the first image's activations are not found in ``two``: the
    network's result for an image depends on the other images of the batch.
    """
    if one.dim() != two.dim():
        return None
    grown = [i for i, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)) if a != b]
    if len(grown) != 1 or two.shape[grown[0]] != 2 * one.shape[grown[0]]:
        return None
    axis = grown[0]
    rows = one.shape[axis]
    if not exact:
        return axis, rows, True
    first, both = one.movedim(axis, 0), two.movedim(axis, 0)
    for found, image_major in ((both[:rows], True), (both[::2], False)):
        if float((found - first).norm()) <= _SAME * (float(first.norm()) + 1e-12):
            return axis, rows, image_major
    return None


def channel_axis(
    module: nn.Module, shape: Sequence[int], axes: Sequence[int], before: Sequence[Call], after: Sequence[Call]
) -> int | None:
    """The channel axis among several axes that do not follow the image's size; ``None`` if it is unclear.

    The type of the layer decides: channels are last in a fully connected layer, first in a convolution. Other layers
    have the channel axis of the last module of such a type before them with an output of the same shape, and the
    number of channels that modules after them take; if these disagree, the axis is unclear. The last of the calls
    ``before`` is the layer's own.
    """
    own = typed_axis(module, shape)
    if own is not None:
        return own if own in axes else None
    large = [axis for axis in axes if shape[axis] > 1]
    made, taken = _made_axis(shape, axes, before), _taken_axis(shape, axes, after)
    if made is not None or taken is not None:
        return made if taken in (None, made) else taken if made is None else None
    if len(large) == 1:
        return large[0]
    if len(shape) == 4 and list(axes) == [1, 2, 3] and (shape[1] == shape[2]) != (shape[2] == shape[3]):
        return 3 if shape[1] == shape[2] else 1  # for a square image, the two equal axes are height and width
    return None


def _made_axis(shape: Sequence[int], axes: Sequence[int], before: Sequence[Call]) -> int | None:
    """The channel axis by the last module before with an output of the same shape, or else of as many channels."""
    typed = [(call, axis) for call in before if (axis := typed_axis(call.module, call.shape)) is not None]
    same = [(call, axis) for call, axis in typed if call.shape == tuple(shape) and axis in axes]
    if not same and (not typed or math.prod(typed[-1][0].shape) > math.prod(shape)):
        return None  # only a part of what the last one put out, which says nothing of the rest
    call, axis = (same or typed)[-1]
    fitting = [other for other in axes if shape[other] == call.shape[axis]]
    return fitting[0] if len(fitting) == 1 else None


def _taken_axis(shape: Sequence[int], axes: Sequence[int], after: Sequence[Call]) -> int | None:
    """The axis whose length is a number of channels that one of the next modules takes, if it is the only one."""
    taken = {_channels_taken(call.module) for call in after[:_NEAR]}
    fitting = [axis for axis in axes if shape[axis] in taken]
    return fitting[0] if len(fitting) == 1 else None


_NEAR = 8
"""The number of calls after a layer that are considered."""


def _channels_taken(module: nn.Module) -> int | None:
    """The number of input channels of a module, if its type has one."""
    for name in ("in_features", "in_channels", "num_features", "num_channels"):
        count = getattr(module, name, None)
        if isinstance(count, int):
            return count
    shape = getattr(module, "normalized_shape", None)
    return int(shape[0]) if shape is not None and len(shape) == 1 else None


BATCH_NORM: Any = getattr(nn.modules.batchnorm, "_BatchNorm", (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d))
"""The base of all batch norms, which has no public name; or the common ones."""
_INSTANCE_NORM: Any = getattr(nn.modules.instancenorm, "_InstanceNorm", nn.InstanceNorm2d)

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_FIRST = (
    *_CONVOLUTIONS,
    *(nn.GroupNorm, BATCH_NORM, _INSTANCE_NORM, nn.LocalResponseNorm),
    *(nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout2d, nn.PixelShuffle),
    *(nn.PixelUnshuffle, nn.Unfold, nn.Upsample, nn.ZeroPad2d, nn.ReflectionPad2d),
)
_LAST = (nn.Linear, nn.Bilinear, nn.Embedding, nn.MultiheadAttention, nn.RNNBase)


def certain_axis(module: nn.Module, shape: Sequence[int]) -> int | None:
    """The channel axis of the output of a layer of torch that computes it as torch does; otherwise ``None``."""
    if "forward" in vars(module) or any(hooks_of(module)):
        return None
    if type(module) in _CONVOLUTIONS and len(shape) == module.weight.dim():  # type: ignore[union-attr, operator]
        return 1
    return len(shape) - 1 if type(module) is nn.Linear else None


def typed_axis(module: nn.Module, shape: Sequence[int]) -> int | None:
    """The channel axis of the output of a module of this type; ``None`` if the type does not determine it."""
    rank = len(shape)
    if rank < 2:
        return None
    if isinstance(module, _FIRST):
        return 1
    if isinstance(module, _LAST):
        return rank - 1
    wanted: Any = getattr(module, "normalized_shape", None)
    if wanted is None and "RMSNorm" in type(module).__name__:
        wanted = getattr(getattr(module, "weight", None), "shape", None)
    if wanted is None or len(wanted) != 1:
        return None
    fitting = [axis for axis in range(1, rank) if shape[axis] == wanted[0]]
    if len(fitting) == 1:
        return fitting[0]  # for example a LayerNorm for maps that is derived from nn.LayerNorm
    return rank - 1 if type(module) is nn.LayerNorm and shape[-1] == wanted[0] else None


def patch_grid(tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """The grid of square patches that gives a number of tokens with the fewest further (class, register) tokens."""
    grids = [(size[0] // patch, size[1] // patch) for patch in range(1, min(size) + 1)]
    fitting = [grid for grid in grids if 0 <= tokens - math.prod(grid) <= 16]
    return max(fitting, key=math.prod, default=None)
