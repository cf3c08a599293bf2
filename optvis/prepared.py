"""A network prepared for some of its layers: shadow, shapes and working copy, reused by many calls."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .checks import Size
from .compiled import Compiler
from .network import Extra, Forward, NetworkInput, Probe, Probed, fast_first_conv, shadow, unwrap, working_copy
from .network.addresses import module_at
from .network.imagenet import outputs_of
from .network.inputs import channel_names, name_outputs, named_outputs
from .network.overrides import Overrides
from .network.precision import choose_precision
from .network.shadow import hooks_of, scripted_parts
from .rng import Rng

State = tuple[tuple[object, ...], tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class Ready:
    """A working copy that is ready to run, with the overrides that make its first convolution fast."""

    forward: Forward
    first_conv: Overrides


class Prepared:
    """A network prepared for some layers: everything that does not depend on a picture or run is computed once.

    It is valid as long as the network has the same modules, hooks and weights (``holds``). The arguments are as for
    ``Probe``, but ``network`` is the user's, which is only read, and ``given`` says on which device to work.
    ``names`` are those of the network's outputs.

    Raises:
        ValueError: the network cannot be shadowed, or a layer is within a part that TorchScript compiled.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        given: NetworkInput,
        extra: Extra,
        channel_axis: int | Mapping[str, int] | None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.layers, self.given, self.extra = tuple(layers), given, extra
        self.state = state_of(network)
        self.shadow = shadow(network).to(given.device)
        self.fingerprint = fingerprint_of(self.shadow)
        name_outputs(self.shadow, names)
        for part in scripted_parts(self.shadow):
            for layer in self.layers:
                if layer != part and (not part or layer.startswith(f"{part}/")):
                    raise ValueError(
                        f"layer {layer!r} is within {part or 'the network'!r}, which TorchScript compiled and whose "
                        "layers cannot be read: give the network it was made from"
                    )
        self.probe = Probe(self.shadow, self.layers, given, extra, channel_axis, single=True)
        self.compiler = Compiler()
        self._ready: dict[str, Ready] = {}

    def holds(self, network: nn.Module) -> bool:
        """False if the network's modules, hooks or weights have changed."""
        return self.state == state_of(network)

    def probed(self, size: Size) -> Probed:
        """The probe's results for an image of ``size`` (height, width); empty if there are no layers."""
        return self.probe.at(size) if self.layers else Probed()

    def ready(self, precision: str, size: Size) -> Ready:
        """The working copy in a precision, which is checked against the shadow on an image of ``size``.

        Raises:
            ValueError: an unknown precision, or the network does not work in it.
        """
        if precision not in self._ready:
            self._ready[precision] = self._make_ready(precision, size)
        return self._ready[precision]

    def _make_ready(self, precision: str, size: Size) -> Ready:
        given = self.given
        if not self.layers:
            dtype = choose_precision(precision, given.device, self.shadow)
            return Ready(Forward(self.shadow, given, self.extra, dtype), Overrides({}))
        probed = self.probe.at(size)
        calls = {layer: shape.calls for layer, shape in probed.layers.items()}
        image = Rng([0]).normal(given.channels, *size).to(given.device)

        def forward(network: nn.Module, dtype: torch.dtype, memory_format: torch.memory_format) -> Forward:
            return Forward(network, given, self.extra, dtype, memory_format).seeded(0, probed.random)

        def look(*copy: Any) -> Mapping[str, Tensor]:
            return forward(*copy).run(image, self.layers, calls).seen

        copy = working_copy(self.shadow, self.layers, look, given.device, precision)
        # What is computed again on the way back is out of reach of overrides, and has to be the same.
        return Ready(forward(*copy), Overrides({}) if probed.checkpointed else fast_first_conv(copy[0]))


def known_names(network: nn.Module, layer: str, given: Sequence[str] | None) -> Sequence[str] | None:
    """The names of a layer's channels as far as they are known before the network runs, else ``None``.

    ``given`` are names of the network's outputs that take precedence over its own.
    """
    network = unwrap(network)
    if given is None and isinstance(getattr(network, "output_names", None), Mapping):
        return named_outputs(network).get(layer)
    if layer == "":
        return channel_names(network, "", outputs_of(network) or 0) if given is None else given
    module = module_at(network, layer)
    count = getattr(module, "out_features", None) or getattr(module, "out_channels", None) or 0
    if given is None:
        return channel_names(network, layer, count)
    return given if len(given) == count else None


def state_of(network: nn.Module) -> State:
    """A value that changes with the network: its modules with their options and hooks, and its weights."""
    inner = unwrap(network)
    modules = [(id(module), *hooks_of(module), *options_of(module)) for module in inner.modules()]
    tensors = _tensors(inner)
    places = [(id(tensor), tensor.device, tensor.dtype, tensor.shape) for tensor in tensors]
    # Torch's version counters miss some changes of weights in place.
    with torch.inference_mode(False), torch.no_grad():
        sums = [_checksum(tensor).cpu() for tensor in tensors]
    return (*modules, *places), tuple(torch.stack(sums).tolist() if sums else ())


def fingerprint_of(network: nn.Module) -> str:
    """A hash of the norms of a network's weights; the same on any machine."""
    with torch.inference_mode(False), torch.no_grad():
        norms = [float(t.norm() if t.is_floating_point() else t.sum()) for t in _tensors(unwrap(network))]
    return hashlib.sha256(",".join(f"{value:.4g}" for value in norms).encode()).hexdigest()[:16]


def _tensors(network: nn.Module) -> list[Tensor]:
    """Parameters and buffers that have values."""
    tensors = (*network.parameters(), *network.buffers())
    return [tensor for tensor in tensors if not is_lazy(tensor) and tensor.numel() and not tensor.is_meta]


def options_of(module: nn.Module) -> Iterator[tuple[str, object]]:
    """Numbers and strings that a module holds, such as a stride, and functions that were set on it."""
    for name, value in list(vars(module).items()):
        if isinstance(value, (bool, int, float, str)) and name != "training":
            yield name, value
        elif callable(value):
            yield name, id(value)
        elif isinstance(value, tuple) and all(isinstance(part, (int, float, str)) for part in value):
            yield name, value


def _checksum(values: Tensor) -> Tensor:
    """A number that depends on the values of a tensor and their order: a dot product with fixed random numbers."""
    if values.is_complex():
        values = torch.view_as_real(values)
    values = (values if values.dtype == torch.float64 else values.float()).reshape(-1)
    weights = _checksum_weights(values.device, values.dtype)
    rows, rest = divmod(len(values), len(weights))
    start = len(values) - rest
    total = (values[start:] @ weights[:rest]).double()
    return total + _checksum((values[:start].view(rows, -1) @ weights).double()) if rows else total


@lru_cache
def _checksum_weights(device: torch.device, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(2**12, generator=generator, dtype=torch.float64, device="cpu") - 0.5).to(device, dtype)
