"""Layers by address: ``features/18``, ``features.18``, ``features/18:12`` or the module itself."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from torch import nn


def unwrap(network: nn.Module) -> nn.Module:
    """The network inside ``DataParallel``, ``DistributedDataParallel`` and ``torch.compile`` wrappers."""
    while True:
        if isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            network = network.module
        elif isinstance(network._modules.get("_orig_mod"), nn.Module):
            network = network._modules["_orig_mod"]  # type: ignore[assignment]
        else:
            return network


def parse_layer(layer: str) -> tuple[str, int | str | None]:
    """Split ``"features/18:12"`` into the address ``"features/18"`` and the channel ``12``.

    The channel is an index, or a name where the network has names for its outputs; ``None`` where none is given.
    """
    address, colon, channel = layer.partition(":")
    address = address.strip().strip("/").replace(".", "/")
    if not colon:
        return address, None
    channel = channel.strip()
    if not channel:
        raise ValueError(f"no channel after the colon of {layer!r}: write {address!r} or, say, '{address}:0'")
    return address, int(channel) if channel.lstrip("-").isdigit() else channel


def layers_of(network: nn.Module) -> dict[str, nn.Module]:
    """Every module of a network by its address; the network itself is ``""``."""
    named = unwrap(network).named_modules()
    return {
        name.replace("_orig_mod.", "").removesuffix("._orig_mod").replace(".", "/"): module for name, module in named
    }


def find_layer(network: nn.Module, layer: str | nn.Module) -> str:
    """The address of a layer in its one spelling, ``features/18``.

    Args:
        network: any network, wrapped or not.
        layer: an address with slashes or dots, or a module of the network. ``""`` is the network's own output.

    Raises:
        ValueError: the network has no such layer; the message names the nearest ones.
    """
    layers = layers_of(network)
    kind = type(unwrap(network)).__name__
    if isinstance(layer, nn.Module):
        inner = unwrap(layer)
        for address, module in layers.items():
            if unwrap(module) is inner:
                return address
        raise ValueError(f"this {type(layer).__name__} is not a module of {kind}: see get_layer_names(network)")
    if not isinstance(layer, str):
        raise TypeError(f"a layer is an address such as 'features/18' or a module, not {layer!r}")
    address, _ = parse_layer(layer)
    if address in layers or _is_alias(network, address):
        return address
    near = (
        difflib.get_close_matches(address, layers, n=3, cutoff=0.5)
        or [name for name in layers if address and name.endswith(address.rsplit("/", 1)[-1])][:3]
    )
    hint = f"did you mean {_either(near)}?" if near else f"its layers begin with {_either(list(layers)[1:4])}"
    raise ValueError(f"no layer {layer!r} in {kind}: {hint} get_layer_names(network) lists all {len(layers) - 1}")


def _is_alias(network: nn.Module, address: str) -> bool:
    """Whether the address is a further name of a module that ``named_modules`` lists under its first name only."""
    try:
        unwrap(network).get_submodule(address.replace("/", "."))
    except AttributeError:
        return False
    return True


def _either(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names)


def module_at(network: nn.Module, address: str) -> nn.Module:
    """The module at an address that ``find_layer`` gave."""
    try:
        return unwrap(network).get_submodule(address.replace("/", "."))
    except AttributeError:  # a part that torch.compile wraps
        return layers_of(network)[address]
