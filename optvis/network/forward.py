"""The one place where an image meets a network: normalise, further inputs, precision, tap, channels first, float32."""

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

from .inputs import Extra, NetworkInput, with_extra
from .own_random import OwnRandom
from .precision import scaled_gradients
from .probe import LayerShape
from .shadow import shadow
from .tap import Tap


class Pass(NamedTuple):
    """One forward pass.

    Attributes:
        inputs: what the network was shown, normalised, ``[N, C, H, W]``.
        output: what the network put out, whole; ``None`` where the pass stopped before its end.
        seen: what layers put out, in their own order and type, by address, in the order of their calls.
        calls: how often each layer was called.
    """

    inputs: Tensor
    output: Any
    seen: dict[str, Tensor]
    calls: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Forward:
    """A network that is ready to be shown images.

    Attributes:
        network: a shadow, or a working copy of one.
        given: what it takes.
        extra: its further inputs.
        dtype: the type in which it computes.
        memory_format: how its input is laid out.
        generator: of the random numbers that the network draws by itself; ``None`` where it draws none.
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
        generator = _seeded() if draws(network) else None
        return cls(shadow(network), given, extra, given.dtype, torch.preserve_format, generator)

    def seeded(self, seed: int, random: bool = True) -> Forward:
        """The same, with random numbers of its own where the network draws any (``random``)."""
        return replace(self, generator=torch.Generator().manual_seed(seed) if random else None)

    def normalise(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` in [0, 1] minus the mean, over the standard deviation, float32."""
        scale, shift = _normalisation(self.given.mean, self.given.std, images.device)
        return images * scale + shift

    def denormalise(self, inputs: Tensor) -> Tensor:
        """The reverse of ``normalise``, float32."""
        scale, shift = _normalisation(self.given.mean, self.given.std, inputs.device)
        return (inputs.float() - shift) / scale

    def take(self, rows: Sequence[int], count: int) -> Forward:
        """The same for only some of ``count`` images, with their own further inputs."""

        def own(value: Any) -> Any:
            several = isinstance(value, Tensor) and value.dim() and len(value) == count > 1
            return value[list(rows)] if several else value

        if isinstance(self.extra, Mapping):
            return replace(self, extra={name: own(value) for name, value in self.extra.items()})
        return replace(self, extra=tuple(map(own, self.extra)))

    def run(
        self,
        inputs: Tensor,
        layers: Sequence[str],
        calls: Mapping[str, int] | None = None,
        missing_ok: bool = False,
        leaves: bool = False,
    ) -> Pass:
        """One forward pass of normalised images ``[N, C, H, W]``.

        Args:
            inputs: in any floating type.
            layers: addresses of the layers whose outputs are kept.
            calls: as ``Tap`` takes them; ``TO_THE_END`` of these layers runs the whole network.
            missing_ok: layers that are not called are left out instead of being an error.
            leaves: gradients begin at the layers where the inputs need none.
        """
        positional, named = self._inputs(inputs)
        drawing = nullcontext() if self.generator is None else OwnRandom(self.generator)
        with Tap(self.network, layers, calls, missing_ok, leaves=leaves) as tap, drawing:
            try:
                seen = tap(*positional, **named)
            except RuntimeError as error:
                if inputs.is_contiguous() or "view" not in str(error):
                    raise
                # A network that takes views of its input needs it in the usual layout.
                positional, named = replace(self, memory_format=torch.contiguous_format)._inputs(inputs)
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
            found = dict(zip(found, scaled_gradients(inputs, list(found.values()))))
        return found

    def _inputs(self, inputs: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and named inputs for normalised images."""
        inputs = inputs.to(self.dtype)
        if self.memory_format is not torch.preserve_format:
            inputs = inputs.contiguous(memory_format=self.memory_format)
        positional, named = with_extra(inputs, self.extra)

        def cast(value: Any) -> Any:
            return value.to(self.dtype) if isinstance(value, Tensor) and value.dtype == self.given.dtype else value

        return tuple(map(cast, positional)), {name: cast(value) for name, value in named.items()}


_QUIET: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
"""Networks that were seen to draw no random numbers, with a number that changes with their modules."""


def draws(network: nn.Module) -> bool:
    """False if a whole forward pass of the network was seen to draw no random numbers."""
    return _QUIET.get(network) != _modules_of(network)


def note_quiet(network: nn.Module, forward: Forward) -> None:
    """Remember that the network draws no random numbers, if whole passes of ``forward``, made of it, drew none."""
    if forward.generator is not None and torch.equal(forward.generator.get_state(), _seeded().get_state()):
        _QUIET[network] = _modules_of(network)


def _modules_of(network: nn.Module) -> int:
    return hash(tuple(map(id, network.modules())))


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def to_the_end(layers: Sequence[str]) -> dict[str, int]:
    """Calls for a pass that runs the whole network and passes every error on."""
    return dict.fromkeys(layers, sys.maxsize)


@lru_cache(maxsize=64)
def _normalisation(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Factor and summand ``[1, C, 1, 1]`` that normalise an image."""
    deviation = torch.tensor(std, dtype=torch.float32, device=device).view(1, -1, 1, 1)
    return 1 / deviation, -torch.tensor(mean, dtype=torch.float32, device=device).view(1, -1, 1, 1) / deviation


@contextmanager
def isolated(device: torch.device) -> Iterator[None]:
    """Within the block gradients are computed, in the types that are asked for, whatever the caller's contexts say.

    Inference mode, ``no_grad``, autocast and a default device of the caller do not reach into the block; all of these
    belong to the running thread alone.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in dict.fromkeys(("cpu", device.type)):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device() != torch.device("cpu"):
            stack.enter_context(torch.device("cpu"))
        yield
