"""Probing: the shapes of layers' outputs, found by a few forward passes on plain images."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any, NamedTuple

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from ..checks import Size, as_whole
from .channel_noise import weighted_channels
from .inputs import Extra, NetworkInput, channel_names, with_extra
from .layout import Call, Layout, Near, batch_layout, channel_axis, moved_axes, patch_grid, two_images
from .memory import out_of_memory
from .own_random import OwnRandom
from .shadow import ScriptedPart
from .tap import Tap, first_tensor


@dataclass(frozen=True)
class LayerShape:
    """The shape of one layer's output for one image.

    Attributes:
        shape: ``(C,)``, ``(C, H, W)`` or ``(C, T)``, channel first, for any order of the layer's own axes. ``(C, rows,
            ...)`` if windows of an image are in the batch axis.
        layout: the layer's own order of axes.
        calls: how often the layer is called in one forward pass.
        grid: for tokens, ``(height, width)`` of the grid of patches, which are the last ``height * width`` tokens.
        names: names of the channels, if the network has them.
    """

    shape: tuple[int, ...]
    layout: Layout
    calls: int
    grid: Size | None = None
    names: tuple[str, ...] | None = None

    def channels_first(self, activation: Tensor) -> Tensor:
        """The layer's own output as float32 ``[N, C, ...]``."""
        return self.layout.channels_first(activation).float()


@dataclass(frozen=True)
class Probed:
    """The results of a probe at one size.

    Attributes:
        layers: the shape of each layer's output.
        weighted: numbers of output channels of the convolutions and fully connected layers up to the last layer.
        random: True if the network draws random numbers.
        alone: True if the network takes no batch, or its result for an image depends on the other images of the batch:
            it then gets one image at a time.
        checkpointed: True if the network recomputes activations in the backward pass (``torch.utils.checkpoint``),
            where ``Overrides`` have no effect.
        scripted: addresses of called parts that TorchScript compiled, in which ``Overrides`` have no effect.
    """

    layers: Mapping[str, LayerShape]
    weighted: tuple[int, ...]
    random: bool
    alone: bool
    checkpointed: bool
    scripted: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Seen:
    """One forward pass: outputs of the layers, how often they were called, and the calls before and after each."""

    activations: Mapping[str, Tensor]
    calls: Mapping[str, int]
    near: Mapping[str, Near]
    weighted: tuple[int, ...]
    traits: _Traits


class _Traits(NamedTuple):
    """What a pass shows of the network itself; as in ``Probed``."""

    random: bool
    checkpointed: bool
    scripted: tuple[str, ...]


class Probe:
    """Finds the shapes of layers' outputs; results are kept for each size.

    Args:
        network: a shadow.
        layers: addresses of the layers.
        given: the network's input.
        extra: further inputs of the network, after the image (positional or by name).
        channel_axis: the channel axis, for every layer or by address; found if not given.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        given: NetworkInput,
        extra: Extra = (),
        channel_axis: int | Mapping[str, int] | None = None,
    ) -> None:
        self.network, self.layers, self.given, self.extra = network, layers, given, extra
        self.channel_axis = _as_axes(channel_axis)
        self._sizes: dict[Size, Probed | Exception] = {}
        self._layouts: dict[str, Layout] = {}
        self._alone = False
        self._first: _Traits | None = None

    def at(self, size: Size) -> Probed:
        """The layers' outputs for an image of ``size`` (height, width); raises the errors of the network."""
        if size not in self._sizes:
            try:
                self._sizes[size] = self._run(size)
            except Exception as error:
                if out_of_memory(error):
                    raise
                self._sizes[size] = error
        found = self._sizes[size]
        if isinstance(found, Exception):
            raise found
        return found

    def works_at(self, size: Size) -> bool:
        """True if the network runs up to the layers on an image of ``size``."""
        try:
            self.at(size)
        except Exception as error:
            if out_of_memory(error):
                raise
            return False
        return True

    def network_size(self, size: Size) -> Size | None:
        """The only size (height, width) that the network takes, or ``None`` if it takes ``size``.

        Raises:
            ValueError: the network takes neither ``size`` nor a size of its own; if other sizes work, the message
                names the smallest.
        """
        if self.works_at(size):
            return None
        error = self._sizes[size]
        assert isinstance(error, Exception)
        if isinstance(error, UnclearLayout):
            raise error
        for own in [self.given.size] if self.given.size else [(224, 224), (299, 299), (256, 256), (384, 384), (32, 32)]:
            if own is not None and own != size and self.works_at(own):
                larger = (2 * own[0], 2 * own[1])
                if not self.works_at(larger):
                    return own
                smallest = self._smallest(own)
                if smallest <= min(size):
                    break  # the size is not the reason
                raise ValueError(
                    f"an image of {size[0]} × {size[1]} px is too small for {_layers(self.layers)} of "
                    f"{type(self.network).__name__}: the smallest square that works has {smallest} px "
                    f"({error})"
                ) from error
        if isinstance(error, ValueError):
            raise error
        raise ValueError(
            f"{type(self.network).__name__} does not run on an image of {self.given.channels} × {size[0]} × {size[1]} "
            f"({self.given.dtype}, {self.given.device}): {error}"
        ) from error

    def _smallest(self, works: Size) -> int:
        low, high = 1, max(works)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.works_at((middle, middle)) else (middle, high)
        return high

    def _run(self, size: Size) -> Probed:
        seen = self._forward(self._grey(size), self.layers)
        new = [layer for layer in self.layers if layer not in self._layouts]
        if new:
            self._find_layouts(seen, new, size)
        return self._probed(seen, size)

    def _probed(self, seen: _Seen, size: Size) -> Probed:
        layers = {
            layer: self._shape(layer, activation, seen.calls[layer], size)
            for layer, activation in seen.activations.items()
        }
        random, checkpointed, scripted = seen.traits
        return Probed(layers, seen.weighted, random, self._alone, checkpointed, scripted)

    def _shape(self, layer: str, activation: Tensor, calls: int, size: Size) -> LayerShape:
        layout = self._layouts[layer]
        layout = layout._replace(rows=activation.shape[layout.batch])
        shape = tuple(layout.channels_first(activation).shape[1:])
        grid = patch_grid(shape[1], size) if len(shape) == 2 and layout.rows == 1 else None
        return LayerShape(shape, layout, calls, grid, channel_names(self.network, layer, shape[0]))

    def _find_layouts(self, seen: _Seen, layers: Sequence[str], size: Size) -> None:
        """Find the batch and channel axes by passes with one and two images, small ones if the network runs on them."""
        for layer in layers:
            if seen.activations[layer].dim() < 2:
                raise UnclearLayout(
                    f"layer {layer!r} puts out {list(seen.activations[layer].shape)}, which has no channels: choose "
                    "another layer"
                )
        small, small_size = self._smaller(size)
        one = seen if small is None else small
        two = self._try(two_images(self._grey(size if small is None else small_size)))
        batches = {layer: self._batch(layer, one, two) for layer in layers}
        windows = [
            layer for layer, (axis, rows, _) in batches.items() if rows == 1 != seen.activations[layer].shape[axis]
        ]
        if windows:  # one window in a small image does not tell how several are ordered
            two = self._try(two_images(self._grey(size)))
            batches.update((layer, self._batch(layer, seen, two)) for layer in windows)
        for layer, (axis, rows, image_major) in batches.items():
            shape = tuple(seen.activations[layer].shape)
            moving = [] if small is None else moved_axes(small.activations[layer], shape)
            channel = self._channel(layer, axis, seen, moving, size)
            self._layouts[layer] = Layout(axis, channel, rows, image_major)
        if small is not None:
            self._sizes[small_size] = self._probed(small, small_size)  # often a coarse stage

    def _smaller(self, size: Size) -> tuple[_Seen | None, Size]:
        """A pass of a quarter or half of the size, which costs little; ``None`` if the network runs at neither."""
        for factor in (4, 2):
            smaller = (size[0] // factor, size[1] // factor)
            seen = self._try(self._grey(smaller)) if min(smaller) >= _LEAST or (factor == 2 and min(smaller)) else None
            if seen is not None:
                return seen, smaller
        return None, size

    def _try(self, images: Tensor) -> _Seen | None:
        """A pass; ``None`` if the network does not run on such images."""
        try:
            seen = self._forward(images, self.layers)
        except Exception as error:
            if out_of_memory(error):
                raise
            return None
        return seen if all(layer in seen.activations for layer in self.layers) else None

    def _batch(self, layer: str, one: _Seen, two: _Seen | None) -> tuple[int, int, bool]:
        """The batch axis, the number of rows of an image, and whether these are adjacent."""
        shape = list(one.activations[layer].shape)
        found = None
        if two is not None and two.calls[layer] == one.calls[layer]:
            found = batch_layout(one.activations[layer], two.activations[layer], exact=not one.traits.random)
        if found is None and (shape[0] != 1 or _mixes(two, layer, shape)):
            also = f" and {list(two.activations[layer].shape)} for two" if two is not None else ""
            raise UnclearLayout(
                f"layer {layer!r} puts out {shape} for one image{also}, in which the images cannot be told apart: "
                "choose another layer"
            )
        if found is None:
            self._alone = True
        return found or (0, 1, True)

    def _channel(self, layer: str, batch: int, seen: _Seen, moving: Sequence[int], size: Size) -> int:
        """The channel axis; ``moving`` are the axes that are known to follow the image's size."""
        shape = tuple(seen.activations[layer].shape)
        rank = len(shape)
        given = self.channel_axis.get(layer) if isinstance(self.channel_axis, Mapping) else self.channel_axis
        axes = [axis for axis in range(rank) if axis != batch]
        if given is not None:
            if not -rank <= given < rank or given % rank == batch:
                raise UnclearLayout(
                    f"channel_axis {given} of layer {layer!r}: its output {list(shape)} has the axes "
                    f"{', '.join(map(str, axes))} to choose from"
                )
            return given % rank
        if len(axes) == 1:
            return axes[0]
        moving = moving or self._moving(layer, shape, size)
        still = [axis for axis in axes if axis not in moving]
        if len(still) == 1:
            return still[0]
        module = self.network.get_submodule(layer.replace("/", "."))
        found = channel_axis(module, shape, still or axes, seen.near[layer])
        if found is None:
            raise UnclearLayout(
                f"layer {layer!r} ({type(module).__name__}) puts out {list(shape)}, and which axis holds the channels "
                f"cannot be told: write channel_axis= with one of {', '.join(map(str, still or axes))}"
            )
        return found

    def _moving(self, layer: str, shape: tuple[int, ...], size: Size) -> list[int]:
        """Axes that follow the size of the image; none if the network runs at no other size."""
        for other in ((size[0] * 2, size[1] * 2), (size[0] + 32, size[1] + 32)):
            try:
                moved = moved_axes(self._forward(self._grey(other), [layer]).activations[layer], shape)
            except Exception:
                continue  # the network takes a single size, or memory ran out
            if moved:
                return moved
        return []

    def _grey(self, size: Size) -> Tensor:
        return torch.zeros(1, self.given.channels, *size, device=self.given.device, dtype=self.given.dtype)

    def _forward(self, image: Tensor, layers: Sequence[str]) -> _Seen:
        inputs, named = with_extra(image.detach().requires_grad_(), self.extra)
        calls: list[Call] = []
        places: dict[str, int] = {}
        weighted: list[int] = []
        scripted: list[str] = []
        on_the_way: list[str] = []
        checkpointed = False
        names = {module: name for name, module in self.network.named_modules()}
        first = self._first  # random numbers and checkpointing are looked for in the first pass only

        def note(module: nn.Module, _given: Any, output: Any) -> None:
            nonlocal checkpointed
            checkpointed = checkpointed or (first is None and _within_checkpoint())
            if isinstance(module, ScriptedPart):
                scripted.append(names[module].replace(".", "/"))
            tensor = first_tensor(output)
            if tensor is not None:
                calls.append(Call(module, tuple(tensor.shape)))

        def on_capture(layer: str) -> None:
            places[layer] = len(calls)
            weighted[:], on_the_way[:] = passed.channels, scripted

        hooks = [module.register_forward_hook(note) for module in names if _hookable(module)]
        drawn = OwnRandom(torch.Generator().manual_seed(0))
        drawing = drawn if first is None or first.random else nullcontext()
        try:
            with Tap(self.network, layers, on_capture=on_capture) as tap, weighted_channels() as passed, drawing:
                activations = tap(*inputs, **named)
        finally:
            for hook in hooks:
                hook.remove()
        for layer, activation in activations.items():
            if not activation.requires_grad:
                raise UnclearLayout(
                    f"no gradient reaches the image from layer {layer!r} of {type(self.network).__name__}: it does "
                    "not depend on the image, or the network runs it under no_grad or detaches it"
                )
            if not torch.isfinite(activation).all():
                raise UnclearLayout(_not_finite(self.network, layer))
        near = {layer: Near(calls[:place], calls[place:]) for layer, place in places.items()}
        detached = {layer: activation.detach() for layer, activation in activations.items()}
        if first is None:
            first = self._first = _Traits(drawn.used, checkpointed, tuple(dict.fromkeys(on_the_way)))
        return _Seen(detached, tap.calls, near, tuple(weighted), first)


def _as_axes(channel_axis: Any) -> int | dict[str, int] | None:
    if isinstance(channel_axis, Mapping):
        return {layer: as_whole(f"channel_axis of {layer!r}", axis, -64, 63) for layer, axis in channel_axis.items()}
    return None if channel_axis is None else as_whole("channel_axis", channel_axis, -64, 63)


_LEAST = 24
"""Images of a quarter of the size are not tried below this side in pixels."""


class UnclearLayout(ValueError):
    """A layer's output cannot be optimised, for any size of the image."""


def _mixes(two: _Seen | None, layer: str, shape: Sequence[int]) -> bool:
    """True if several axes of a layer's output follow the number of images: it compares images with each other."""
    both = tuple(two.activations[layer].shape) if two is not None else ()
    return len(both) == len(shape) and sum(b == 2 * a for a, b in zip(shape, both, strict=True)) > 1


def _hookable(module: nn.Module) -> bool:
    return not isinstance(module, torch.jit.ScriptModule)


def _within_checkpoint() -> bool:
    """True if the current code was called by ``torch.utils.checkpoint``."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_filename == torch.utils.checkpoint.__file__:
            return True
        frame = frame.f_back
    return False


def _not_finite(network: nn.Module, address: str) -> str:
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            return f"the weights {name!r} of {type(network).__name__} hold NaN or infinite values: load them again"
    return f"layer {address!r} of {type(network).__name__} puts out NaN or infinite values on a plain grey image"


def _layers(layers: Sequence[str]) -> str:
    return "layer " + ", ".join(repr(layer) for layer in layers)
