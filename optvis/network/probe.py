"""Probing: the shapes of layers' outputs, found by a few forward passes on plain images."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from inspect import currentframe
from typing import Any, NamedTuple

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from ..checks import Size, as_whole
from ..rng import Rng
from ..stages import LEAST
from .addresses import layers_of, module_at
from .channel_noise import weighted_channels
from .inputs import Extra, NetworkInput, channel_names, with_extra
from .layout import Call, Layout, batch_layout, certain_axis, channel_axis, patch_grid
from .memory import out_of_memory
from .own_random import OwnRandom
from .shadow import ScriptedPart
from .tap import Tap, first_tensor

_USUAL_SIDES = (224, 299, 256, 384, 32, 28, 64, 96, 128, 512)
"""Sides in pixels that are tried where a network does not run and does not say which size it takes."""


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
        checkpointed: True if the network recomputes activations in the backward pass (``torch.utils.checkpoint``),
            where ``Overrides`` have no effect.
        scripted: addresses of called parts that TorchScript compiled, in which ``Overrides`` have no effect.
    """

    layers: Mapping[str, LayerShape] = field(default_factory=dict)
    weighted: tuple[int, ...] = ()
    random: bool = False
    checkpointed: bool = False
    scripted: tuple[str, ...] = ()


class _Pass(NamedTuple):
    """One forward pass: outputs of the layers, how often they were called, and ``Probed.weighted``."""

    activations: Mapping[str, Tensor]
    calls: Mapping[str, int]
    weighted: tuple[int, ...]


@dataclass
class _Notes:
    """What the first pass shows: calls of modules, the number of them up to each layer's own, and as in ``Probed``."""

    calls: list[Call] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    random: bool = False
    checkpointed: bool = False
    scripted: tuple[str, ...] = ()

    def note(self, module: nn.Module, _given: Any, output: Any) -> None:
        """Note a call of a module (a forward hook)."""
        frame = None if self.checkpointed else currentframe()
        while frame is not None and not self.checkpointed:
            self.checkpointed = frame.f_code.co_filename == torch.utils.checkpoint.__file__
            frame = frame.f_back
        tensor = first_tensor(output)
        if tensor is not None:
            self.calls.append(Call(module, tuple(tensor.shape)))


@dataclass(eq=False)
class Probe:
    """Finds the shapes of layers' outputs of a shadow; results are kept for each size.

    Attributes:
        layers: addresses.
        given: the network's input.
        extra: its further inputs.
        channel_axis: the channel axis, for every layer or by address; found if not given.
        single: True to leave the pass of two images out if one image shows the batch axis; ``alone`` is asked before
            the network gets several.
    """

    network: nn.Module
    layers: Sequence[str]
    given: NetworkInput
    extra: Extra = ()
    channel_axis: int | Mapping[str, int] | None = None
    single: bool = False
    _sizes: dict[Size, Probed | Exception] = field(default_factory=dict, init=False)
    _notes: _Notes = field(default_factory=_Notes, init=False)
    _passes: dict[Size, _Pass] = field(default_factory=dict, init=False)

    def at(self, size: Size) -> Probed:
        """The layers' outputs for an image of ``size`` (height, width); raises the errors of the network."""
        found = self._result(size)
        if isinstance(found, Exception):
            raise found
        return found

    def works_at(self, size: Size) -> bool:
        """True if the network runs up to the layers on an image of ``size``."""
        return isinstance(self._result(size), Probed)

    def _result(self, size: Size) -> Probed | Exception:
        if size not in self._sizes:
            try:
                self._sizes[size] = self._run(size)
            except Exception as error:
                if out_of_memory(error):
                    raise
                self._sizes[size] = error
        return self._sizes[size]

    def network_size(self, size: Size) -> Size | None:
        """The only size (height, width) that the network takes, or ``None`` if it takes ``size``.

        Raises:
            ValueError: the network takes neither ``size`` nor a size of its own; if other sizes work, the message
                names the smallest.
        """
        error = self._result(size)
        if isinstance(error, Probed):
            return None
        if isinstance(error, UnclearLayout):
            raise error
        sizes = [self.given.size] if self.given.size else [(side, side) for side in _USUAL_SIDES]
        own = next((own for own in sizes if own != size and self.works_at(own)), None)
        if own is not None:
            if not self.works_at((2 * own[0], 2 * own[1])):
                return own
            smallest = 2 + bisect_left(range(2, max(own)), True, key=lambda side: self.works_at((side, side)))
            if smallest > min(size):  # otherwise, the size is not the reason
                raise ValueError(
                    f"an image of {size[0]} × {size[1]} px is too small for layer "
                    f"{', '.join(map(repr, self.layers))} of {type(self.network).__name__}: the smallest square that "
                    f"works has {smallest} px ({error})"
                ) from error
        if isinstance(error, ValueError):
            raise error
        raise ValueError(
            f"{type(self.network).__name__} does not run on an image of {self.given.channels} × {size[0]} × {size[1]} "
            f"({self.given.dtype}, {self.given.device}): {error}"
        ) from error

    @cached_property
    def alone(self) -> bool:
        """True if the network takes no batch, or its result for an image depends on the other images of the batch.

        Some size has to be probed before. Raises ``ValueError`` if images cannot be told apart in a layer's output.
        """
        return any((self._batch(layer) or [None])[0] != self._layouts[layer].batch for layer in self.layers)

    def _run(self, size: Size) -> Probed:
        seen = self._passes.get(size)
        if seen is None or seen.activations.keys() != set(self.layers):
            seen = self._passes[size] = self._forward(self._grey(size))
        layers, notes = {}, self._notes
        for layer, activation in seen.activations.items():
            layout = self._layouts[layer]
            layout = layout._replace(rows=activation.shape[layout.batch])
            shape = tuple(layout.channels_first(activation).shape[1:])
            grid = patch_grid(shape[1], size) if len(shape) == 2 and layout.rows == 1 else None
            names = channel_names(self.network, layer, shape[0])
            layers[layer] = LayerShape(shape, layout, seen.calls[layer], grid, names)
        # Passes of larger images are no longer needed, and take memory.
        kept = {other: at for other, at in self._passes.items() if other < size and len(at.activations) == len(layers)}
        self._passes = kept or {size: seen}
        return Probed(layers, seen.weighted, notes.random, notes.checkpointed, notes.scripted)

    @cached_property
    def _layouts(self) -> dict[str, Layout]:
        """The order of the axes of each layer's output, by the first pass and, if this is not enough, by others."""
        size, seen = next(iter(self._passes.items()))
        shapes = {layer: tuple(activation.shape) for layer, activation in seen.activations.items()}
        batches: dict[str, tuple[int, int, bool]] = {}
        for layer, shape in shapes.items():
            if len(shape) < 2:
                raise UnclearLayout(
                    f"layer {layer!r} puts out {list(shape)}, which has no channels: choose another layer"
                )
            plain = self.single and shape[0] == 1 and 1 not in shape[1:]
            batches[layer] = (None if plain else self._batch(layer)) or (0, 1, True)
        return {
            layer: Layout(batch, self._channel(layer, shapes[layer], batch, size), rows, image_major)
            for layer, (batch, rows, image_major) in batches.items()
        }

    @cached_property
    def _pair(self) -> tuple[_Pass, _Pass]:
        """A pass of one image, and one of it and another; the second is empty if the network takes no batch."""
        size, one = next(iter(self._passes.items()))
        grey = self._grey(size)
        noise = Rng([0]).normal(self.given.channels, *size).to(grey)
        try:
            return one, self._forward(torch.cat([grey, noise]))
        except Exception as error:
            if out_of_memory(error):
                raise
            return one, _Pass({}, {}, ())

    def _batch(self, layer: str) -> tuple[int, int, bool] | None:
        """As ``batch_layout``; ``None`` if the network has to be given one image at a time."""
        one, two = self._pair
        single, both = one.activations[layer], two.activations.get(layer)
        if both is not None and two.calls[layer] == one.calls[layer]:
            found = batch_layout(single, both, exact=not self._notes.random)
            if found is not None:
                return found
        shape, shape_of_both = list(single.shape), list(both.shape) if both is not None else []
        doubled = sum(n == 2 * m for n, m in zip(shape_of_both, shape, strict=False))
        if shape[0] != 1 or doubled > 1:  # it compares the images with each other if several axes follow their number
            also = f" and {shape_of_both} for two" if both is not None else ""
            raise UnclearLayout(
                f"layer {layer!r} puts out {shape} for one image{also}, in which the images cannot be told apart: "
                "choose another layer"
            )
        return None

    def _channel(self, layer: str, shape: tuple[int, ...], batch: int, size: Size) -> int:
        """The channel axis of a layer's output at a size."""
        rank, given = len(shape), self.channel_axis
        given = given.get(layer) if isinstance(given, Mapping) else given
        axes = [axis for axis in range(rank) if axis != batch]
        if given is not None:
            given = as_whole(f"channel_axis of {layer!r}", given, -64, 63)
            if not -rank <= given < rank or given % rank == batch:
                raise UnclearLayout(
                    f"channel_axis {given} of layer {layer!r}: its output {list(shape)} has the axes "
                    f"{', '.join(map(str, axes))} to choose from"
                )
            return given % rank
        module = module_at(self.network, layer)
        certain = certain_axis(module, shape)
        if certain is not None and certain in axes:
            return certain
        moving = self._moving(layer, shape, size) if len(axes) > 1 else set()
        still = [axis for axis in axes if axis not in moving]
        if len(still) == 1:
            return still[0]
        calls, place = self._notes.calls, self._notes.places[layer]
        found = channel_axis(module, shape, still or axes, calls[:place], calls[place:])
        if found is None:
            raise UnclearLayout(
                f"layer {layer!r} ({type(module).__name__}) puts out {list(shape)}, and which axis holds the channels "
                f"cannot be told: write channel_axis= with one of {', '.join(map(str, still or axes))}"
            )
        return found

    def _moving(self, layer: str, shape: tuple[int, ...], size: Size) -> set[int]:
        """The axes of a layer's output that follow the size of the image; none if the network runs at no other size.

        A small image costs little, and a coarse stage needs a pass anyway. Large ones are used only if no axis moves.
        """
        moving: set[int] = set()
        for other in _other_sizes(size):
            if len(moving) >= (len(shape) - 2 if other < size else 1):
                continue
            if other not in self._passes:
                try:
                    self._passes[other] = self._forward(self._grey(other), partly=True)
                except Exception:  # the network takes a single size, or memory ran out
                    self._passes[other] = _Pass({}, {}, ())
            activation = self._passes[other].activations.get(layer)
            if activation is not None and activation.dim() == len(shape):
                moving |= {axis for axis, length in enumerate(activation.shape) if length != shape[axis]}
        return moving

    def _grey(self, size: Size) -> Tensor:
        return torch.zeros(1, self.given.channels, *size, device=self.given.device, dtype=self.given.dtype)

    def _forward(self, images: Tensor, partly: bool = False) -> _Pass:
        """A pass up to the layers; ``partly`` if it may fail before the last. The first pass is noted."""
        inputs, named = with_extra(images.requires_grad_(), self.extra)
        notes, first, found = _Notes(), not self._passes, {}
        weighted: tuple[int, ...] = ()

        def on_capture(layer: str, activation: Tensor) -> None:
            nonlocal weighted
            found[layer], notes.places[layer], weighted = activation, len(notes.calls), tuple(passed.channels)

        watched = self.network.modules() if first else ()
        hooks = [m.register_forward_hook(notes.note) for m in watched if not isinstance(m, torch.jit.ScriptModule)]
        drawn = OwnRandom(torch.Generator().manual_seed(0))
        try:
            with (
                Tap(self.network, self.layers, on_capture=on_capture) as tap,
                weighted_channels() as passed,
                drawn if first or self._notes.random else nullcontext(),
            ):
                tap(*inputs, **named)
        except Exception:
            if not partly:
                raise
        finally:
            for hook in hooks:
                hook.remove()
        for layer, activation in found.items():
            if not activation.requires_grad:
                raise UnclearLayout(
                    f"no gradient reaches the image from layer {layer!r} of {type(self.network).__name__}: it does "
                    "not depend on the image, or the network runs it under no_grad or detaches it"
                )
            if not torch.isfinite(activation).all():
                raise UnclearLayout(_not_finite(self.network, layer))
        if first:
            addresses = {part: address for address, part in layers_of(self.network).items()}
            called = dict.fromkeys(module for module, _ in notes.calls[: max(notes.places.values(), default=0)])
            notes.scripted = tuple(addresses[part] for part in called if isinstance(part, ScriptedPart))
            notes.random = drawn.used
            self._notes = notes
        return _Pass({layer: found[layer].detach() for layer in self.layers if layer in found}, tap.calls, weighted)


class UnclearLayout(ValueError):
    """A layer's output cannot be optimised, for any size of the image."""


def _other_sizes(size: Size) -> Iterator[Size]:
    """Smaller sizes, those of coarse stages first, and then larger ones."""
    fitting = max(min(size) / LEAST, 1)
    for factor in (4 if fitting >= 4 else 1, min(2, fitting), 2):
        if factor > 1 and min(size) > 1:
            yield round(size[0] / factor), round(size[1] / factor)
    yield size[0] * 2, size[1] * 2
    yield size[0] + 32, size[1] + 32


def _not_finite(network: nn.Module, address: str) -> str:
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            return f"the weights {name!r} of {type(network).__name__} hold NaN or infinite values: load them again"
    return f"layer {address!r} of {type(network).__name__} puts out NaN or infinite values on a plain grey image"
