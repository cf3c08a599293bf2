"""A network made ready for some of its layers: its shadow, their shapes and a working copy, kept for many calls."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .checks import Size
from .compiled import Compiler
from .network import Extra, Forward, NetworkInput, Probe, Probed, fast_first_conv, shadow, unwrap, working_copy
from .network.overrides import Overrides
from .network.precision import choose_precision
from .network.shadow import scripted_parts

State = tuple[tuple[object, ...], tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class Ready:
    """A network at work.

    Attributes:
        forward: shows images to the working copy.
        first_conv: the overrides that make its first convolution fast.
    """

    forward: Forward
    first_conv: Overrides


class Prepared:
    """A network made ready for layers: whatever does not depend on one picture or run is found once, and kept.

    The preparation holds as long as the network has the same modules, hooks and weights (``holds``).

    Args:
        network: the user's network, which is read only.
        layers: addresses of the layers that an objective names.
        given: what the network takes; its device is where the work is done.
        extra: its further inputs.
        channel_axis: where the channel stands; found where not given.

    Raises:
        ValueError: the network cannot be shadowed, or a layer lies in a part that TorchScript compiled.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        given: NetworkInput,
        extra: Extra,
        channel_axis: int | Mapping[str, int] | None,
    ) -> None:
        self.layers, self.given, self.extra = tuple(layers), given, extra
        self.state = state_of(network)
        self.shadow = shadow(network).to(given.device)
        self.fingerprint = fingerprint_of(self.shadow)
        self.scripted = scripted_parts(self.shadow)
        _refuse_scripted(self.shadow, self.layers, self.scripted)
        self.probe = Probe(self.shadow, self.layers, given, extra, channel_axis)
        self.compiler = Compiler()
        self._ready: dict[str, Ready] = {}

    def holds(self, network: nn.Module) -> bool:
        """False once the network's modules, hooks or weights are not what they were."""
        return self.state == state_of(network)

    def probed(self, size: Size) -> Probed:
        """What the layers put out for an image of ``size`` (height, width); nothing where there are no layers."""
        return self.probe.at(size) if self.layers else Probed({}, (), False, False, False)

    def ready(self, precision: str, size: Size) -> Ready:
        """The working copy in a precision; whether it computes the same is checked on an image of ``size``.

        Raises:
            ValueError: no such precision, or the network does not work in it.
        """
        if precision not in self._ready:
            self._ready[precision] = self._make_ready(precision, size)
        return self._ready[precision]

    def _make_ready(self, precision: str, size: Size) -> Ready:
        given = self.given
        if not self.layers:
            dtype = choose_precision(precision, given.device, given.dtype)
            return Ready(Forward(self.shadow, given, self.extra, dtype), Overrides({}))
        probed = self.probe.at(size)
        calls = {layer: shape.calls for layer, shape in probed.layers.items()}
        image = torch.randn(
            1, given.channels, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu"
        ).to(given.device)
        plain = Forward(self.shadow, given, self.extra, given.dtype)

        def look(network: nn.Module, dtype: torch.dtype, memory_format: torch.memory_format) -> Mapping[str, Tensor]:
            generator = torch.Generator().manual_seed(0) if probed.random else None
            forward = replace(plain, network=network, dtype=dtype, memory_format=memory_format, generator=generator)
            return forward.run(image, self.layers, calls).seen

        network, dtype, memory_format = working_copy(self.shadow, self.layers, look, given.device, precision)
        generator = torch.Generator() if probed.random else None
        forward = replace(plain, network=network, dtype=dtype, memory_format=memory_format, generator=generator)
        # What is computed again on the way back is out of reach of overrides, and has to be the same.
        return Ready(forward, Overrides({}) if probed.checkpointed else fast_first_conv(network))


def state_of(network: nn.Module) -> State:
    """What tells whether a network is still the same: its modules with their settings and hooks, and its weights."""
    inner = unwrap(network)
    modules = [
        (id(module), *module._forward_hooks, *module._forward_pre_hooks, *_options(module))
        for module in inner.modules()
    ]
    tensors = _tensors(inner)
    places = [(id(tensor), tensor.device, tensor.dtype, tensor.shape) for tensor in tensors]
    # Weights may be changed in place in ways that no counter of torch notices.
    with torch.inference_mode(False), torch.no_grad():
        sums = [_checksum(tensor).cpu() for tensor in tensors]
    return (*modules, *places), tuple(torch.stack(sums).tolist() if sums else ())


def fingerprint_of(network: nn.Module) -> str:
    """A name for the weights of a network, as ``Prepared.fingerprint``; the same on any machine."""
    with torch.inference_mode(False), torch.no_grad():
        norms = [float(t.norm() if t.is_floating_point() else t.sum()) for t in _tensors(network)]
    return hashlib.sha256(",".join(f"{value:.4g}" for value in norms).encode()).hexdigest()[:16]


def _tensors(network: nn.Module) -> list[Tensor]:
    """Parameters and buffers that have values."""
    inner = unwrap(network)
    tensors = (*inner.parameters(), *inner.buffers())
    return [tensor for tensor in tensors if not is_lazy(tensor) and tensor.numel() and not tensor.is_meta]


def _options(module: nn.Module) -> Iterator[tuple[str, object]]:
    """Numbers and names that a module holds, such as a stride, and functions that were set on it."""
    for name, value in list(vars(module).items()):
        if isinstance(value, (bool, int, float, str)) and name != "training":
            yield name, value
        elif callable(value):
            yield name, id(value)
        elif isinstance(value, tuple) and all(isinstance(part, (int, float, str)) for part in value):
            yield name, value


def _checksum(values: Tensor) -> Tensor:
    """A number that changes with the values of a tensor and with their order: products with fixed random numbers."""
    if values.is_complex():
        values = torch.view_as_real(values)
    if values.dtype != torch.float64:
        values = values.float()
    values, weights = values.reshape(-1), _checksum_weights(values.device, values.dtype)
    rows, rest = divmod(len(values), len(weights))
    total = (values[len(values) - rest :] @ weights[:rest]).double()
    if not rows:
        return total
    return total + _checksum((values[: len(values) - rest].view(rows, -1) @ weights).double())


@lru_cache
def _checksum_weights(device: torch.device, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(2**12, generator=generator, dtype=torch.float64, device="cpu") - 0.5).to(device, dtype)


def _refuse_scripted(network: nn.Module, layers: Sequence[str], scripted: Sequence[str]) -> None:
    for layer in layers:
        for part in scripted:
            if layer != part and (not part or layer.startswith(f"{part}/")):
                raise ValueError(
                    f"layer {layer!r} lies within {part or 'the network'!r}, which TorchScript compiled and "
                    "cannot be looked into: give the network it was made from"
                )
