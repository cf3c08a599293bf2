"""The forward pass: normalisation, further inputs, precision, tap, channels first, float32. All code uses this one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .inputs import Extra, NetworkInput, each_extra, with_extra
from .own_random import OwnRandom
from .precision import scaled_gradients
from .probe import LayerShape
from .shadow import shadow
from .tap import Tap


class Pass(NamedTuple):
    """One forward pass.

    Attributes:
        inputs: the normalised images, ``[N, C, H, W]``.
        output: the complete output of the network; ``None`` if the pass stopped early.
        seen: outputs of layers by address, in the order of their calls, with the layer's own order of axes and type.
        calls: how often each layer was called.
    """

    inputs: Tensor
    output: Any
    seen: dict[str, Tensor]
    calls: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Forward:
    """A shadow, or a working copy of one, that is ready to run on images.

    Attributes:
        network: it computes in ``dtype``, on inputs in ``memory_format``.
        given: its input: channels, size and normalisation.
        extra: its further inputs.
        generator: of the random numbers that the network itself draws; ``None`` if it draws none.
    """

    network: nn.Module
    given: NetworkInput
    extra: Extra = ()
    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.contiguous_format
    generator: torch.Generator | None = None

    @classmethod
    def of(cls, network: nn.Module, given: NetworkInput, extra: Extra = ()) -> Forward:
        """A shadow of a network, in the network's own precision, which is shown images as they lie in memory."""
        generator = None if _QUIET.get(network) == _modules_of(network) else _seeded()
        return cls(shadow(network), given, extra, given.dtype, torch.preserve_format, generator)

    def seeded(self, seed: int, random: bool = True) -> Forward:
        """The same with a new generator of this seed; with none if the network draws no numbers (``random=False``)."""
        return replace(self, generator=torch.Generator().manual_seed(seed) if random else None)

    def normalise(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` in [0, 1] minus the mean, divided by the standard deviation, float32."""
        scale, shift = _normalisation(self.given.mean, self.given.std, images.device)
        return images * scale + shift

    def denormalise(self, inputs: Tensor) -> Tensor:
        """The reverse of ``normalise``, float32."""
        scale, shift = _normalisation(self.given.mean, self.given.std, inputs.device)
        return (inputs.float() - shift) / scale

    def take(self, rows: Sequence[int], count: int) -> Forward:
        """The same for the images ``rows`` of a batch of ``count``, with their own further inputs."""

        def own(value: Any) -> Any:
            several = isinstance(value, Tensor) and value.dim() and len(value) == count > 1
            return value[list(rows)] if several else value

        return replace(self, extra=each_extra(own, self.extra))

    def run(
        self,
        inputs: Tensor,
        layers: Sequence[str],
        calls: Mapping[str, int] | None = None,
        missing_ok: bool = False,
        leaves: bool = False,
    ) -> Pass:
        """One forward pass of normalised images ``[N, C, H, W]`` of any floating-point type.

        The others are as for ``Tap``; with ``to_the_end(layers)`` for ``calls`` the whole network is run.
        """
        positional, named = self._inputs(inputs, self.memory_format)
        drawing = nullcontext() if self.generator is None else OwnRandom(self.generator)
        with Tap(self.network, layers, calls, missing_ok, leaves=leaves) as tap, drawing:
            try:
                seen = tap(*positional, **named)
            except RuntimeError as error:
                if inputs.is_contiguous() or "view" not in str(error):
                    raise
                # A network that uses views of its input needs a contiguous layout.
                positional, named = self._inputs(inputs, torch.contiguous_format)
                seen = tap(*positional, **named)
        return Pass(inputs, tap.output, {layer: seen[layer] for layer in tap.calls if layer in seen}, tap.calls)

    def activations(self, images: Tensor, shapes: Mapping[str, LayerShape]) -> dict[str, Tensor]:
        """``[N, C, ...]`` float32 of each layer for images in [0, 1]; the pass ends after the last of them."""
        if not shapes:
            return {}
        inputs = self.normalise(images)
        passed = self.run(inputs, list(shapes), {layer: shape.calls for layer, shape in shapes.items()})
        found = {layer: shape.channels_first(passed.seen[layer]) for layer, shape in shapes.items()}
        if self.dtype == torch.float16 and inputs.requires_grad:
            found = dict(zip(found, scaled_gradients(inputs, list(found.values())), strict=True))
        return found

    def _inputs(self, inputs: Tensor, memory_format: torch.memory_format) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and named inputs for normalised images."""
        inputs = inputs.to(self.dtype)
        if memory_format is not torch.preserve_format:
            inputs = inputs.contiguous(memory_format=memory_format)

        def cast(value: Any) -> Any:
            return value.to(self.dtype) if isinstance(value, Tensor) and value.dtype == self.given.dtype else value

        return with_extra(inputs, each_extra(cast, self.extra))


_QUIET: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
"""Networks that were seen to draw no random numbers, with a number that changes with their modules."""


def note_quiet(network: nn.Module, forward: Forward) -> None:
    """Remember that the network draws no random numbers, if whole passes of ``forward``, made of it, drew none."""
    if forward.generator is not None and torch.equal(forward.generator.get_state(), _seeded().get_state()):
        _QUIET[network] = _modules_of(network)


def _modules_of(network: nn.Module) -> int:
    return hash(tuple(map(id, network.modules())))


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def to_the_end(layers: Sequence[str]) -> dict[str, int]:
    """The ``calls`` for a pass that runs the whole network and raises every error."""
    return dict.fromkeys(layers, sys.maxsize)


@lru_cache(maxsize=64)
def _normalisation(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Scale and shift ``[1, C, 1, 1]`` that normalise an image."""
    centre, deviation = (torch.tensor(v, dtype=torch.float32, device=device).view(1, -1, 1, 1) for v in (mean, std))
    return 1 / deviation, -centre / deviation


@contextmanager
def isolated(device: torch.device) -> Iterator[None]:
    """Within the block gradients are enabled and torch's contexts of the caller have no effect.

    These are inference mode, ``no_grad``, autocast and a default device; all of them are settings of the current
    thread only.
    """
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        for kind in dict.fromkeys(("cpu", device.type)):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device() != torch.device("cpu"):
            stack.enter_context(torch.device("cpu"))
        yield
