"""Layers by address: ``features/18``, ``features.18`` or the module itself; with a channel, ``features/18:12``."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

from torch import nn

from ..checks import either, nearest, shown

IMAGE = "@image"
"""The address of the image itself, ``[N, C, H, W]`` in [0, 1], before transforms."""
_COMPILED = "_orig_mod"
"""The name of the original module in the wrapper that ``torch.compile`` makes."""


@dataclass(frozen=True)
class Address:
    """A layer (``""`` is the network's own output) and perhaps one of its channels, by number or name."""

    layer: str
    index: int | str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``layer`` or ``layer:channel``, with slashes or dots; raises ``ValueError`` if one of them is empty."""
        layer, colon, channel = text.partition(":")
        layer, channel = layer.strip().strip("/").replace(".", "/"), channel.strip()
        if colon and not (layer and channel):
            raise ValueError(f"{text!r} is no address: write 'features/18' for a layer, 'features/18:12' for a channel")
        return cls(layer, channel_of(channel) if colon else None)

    @classmethod
    def of_layer(cls, text: str) -> Address:
        """Read the address of a layer; raises ``ValueError`` if ``text`` also names a channel."""
        address = cls.parse(text)
        if address.index is not None:
            raise ValueError(
                f"{text!r} names channel {address.index!r}, but a layer alone is needed: write {address.layer!r}, "
                f"or Channel({address.layer!r}, {address.index!r}) for the channel"
            )
        return address

    def __str__(self) -> str:
        return self.layer if self.index is None else f"{self.layer}:{self.index}"


def channel_of(text: str) -> int | str:
    """A channel from its text: a number or a name."""
    return int(text) if re.fullmatch("-?[0-9]{1,18}", text) else text


def unwrap(network: nn.Module) -> nn.Module:
    """The network inside ``DataParallel``, ``DistributedDataParallel`` and ``torch.compile`` wrappers."""
    if not isinstance(network, nn.Module):
        raise TypeError(f"a network is a torch.nn.Module, not {shown(network)}")
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    inner = network.module if isinstance(network, wrappers) else compiled_module(network)
    return network if inner is None else unwrap(inner)


def compiled_module(network: nn.Module) -> nn.Module | None:
    """The module that a ``torch.compile`` wrapper was made from; ``None`` for any other module."""
    children = vars(network).get("_modules")  # scripted and traced modules have none, or one of another type
    return children.get(_COMPILED) if isinstance(children, dict) else None


def layers_of(network: nn.Module) -> dict[str, nn.Module]:
    """Every module of a network by its address; the network itself is ``""``."""
    return {
        name.replace(f"{_COMPILED}.", "").removesuffix(f".{_COMPILED}").replace(".", "/"): module
        for name, module in unwrap(network).named_modules()
    }


def find_layer(network: nn.Module, layer: str | nn.Module) -> str:
    """The address of a layer in its standard spelling, ``features/18``.

    Args:
        network: any network, wrapped or not.
        layer: an address with slashes or dots, or a module of the network. ``""`` is the network's own output.

    Raises:
        ValueError: the network has no such layer (the message names the nearest ones), or ``layer`` names a channel.
        TypeError: neither an address nor a module.
    """
    if isinstance(layer, str):
        with suppress(AttributeError, RuntimeError):  # found without a list of all layers, but in scripted networks
            unwrap(network).get_submodule(layer.replace("/", "."))
            return layer.replace(".", "/")
    layers = layers_of(network)
    kind = type(unwrap(network)).__name__
    if isinstance(layer, nn.Module):
        inner = unwrap(layer)
        for address, module in layers.items():
            if unwrap(module) is inner:
                return address
        raise ValueError(f"this {type(layer).__name__} is not a module of {kind}: see get_layer_names(network)")
    if not isinstance(layer, str):
        raise TypeError(f"a layer is an address such as 'features/18' or a module, not {shown(layer)}")
    if layer in layers:
        return layer  # also if a module's own name contains a colon
    address = Address.of_layer(layer).layer
    with suppress(KeyError):  # also another name of a module, which is listed under its first name
        module_at(network, address)
        return address
    alike = [name for name in layers if address and name.endswith(address.rsplit("/", 1)[-1])][:3]
    otherwise = f"did you mean {either(alike)}?" if alike else f"its layers begin with {either(list(layers)[1:4])};"
    hint = nearest(address, layers, otherwise, cutoff=0.5)
    raise ValueError(f"no layer {layer!r} in {kind}: {hint} get_layer_names(network) lists all {len(layers) - 1}")


def module_at(network: nn.Module, address: str) -> nn.Module:
    """The module at an address as ``find_layer`` spells it."""
    try:
        return unwrap(network).get_submodule(address.replace("/", "."))
    except AttributeError:  # a part wrapped by torch.compile
        return layers_of(network)[address]
