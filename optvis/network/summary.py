"""A printed table of a network's layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..checks import MOST, as_count, as_flag, as_size
from ..text import printable
from .addresses import layers_of
from .forward import Forward, isolated, to_the_end
from .inputs import NetworkInput


def get_layer_names(
    network: nn.Module,
    input_size: int | Sequence[int] | None = None,
    verbose: bool = True,
    depth: int | None = None,
    pattern: str | None = None,
) -> list[str]:
    """Print a table of a network's layers and return their addresses.

    Args:
        network: any network.
        input_size: a size in pixels (``224``, ``(H, W)`` or ``(C, H, W)``), for which the table also shows the shape
            of each layer's output for one image.
        verbose: ``False`` prints nothing.
        depth: only layers with at most this many parts in their address: 1 for the network's direct children.
        pattern: only layers whose address or class contains this text, in upper or lower case.

    Returns:
        The addresses in the order of registration, without that of the network itself.

    Raises:
        ValueError: a depth that is not a whole number of at least 1.
    """
    verbose, most = as_flag("verbose", verbose), MOST if depth is None else as_count("depth", depth)
    text = "" if pattern is None else str(pattern).lower()
    layers = {
        address: module
        for address, module in layers_of(network).items()
        if address.count("/") < most and (text in address.lower() or text in type(module).__name__.lower())
    }
    shapes = _shapes(network, input_size) if input_size is not None else {}
    rows = [("layer", "class", "parameters") + (("output",) if shapes else ())]
    for address, module in layers.items():
        if address:
            count = sum(parameter.numel() for parameter in module.parameters())
            shape = (shapes.get(address, "not called"),) if shapes else ()
            rows.append((address, type(module).__name__, f"{count:,}", *shape))
    if verbose:
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for layer, kind, number, *output in rows:
            cells = [layer.ljust(widths[0]), kind.ljust(widths[1]), number.rjust(widths[2]), *output]
            print(printable("  ".join(cells).rstrip()))
    return [address for address in layers if address]


def _shapes(network: nn.Module, input_size: int | Sequence[int]) -> dict[str, str]:
    given = NetworkInput.of(network)
    channels, size = given.channels, input_size
    if isinstance(input_size, (list, tuple)) and len(input_size) == 3:
        channels, size = as_count("input_size", input_size[0]), input_size[1:]
    layers = [address for address in layers_of(network) if address]
    image = torch.zeros(1, channels, *as_size(size), device=given.device, dtype=given.dtype)
    with isolated(given.device), torch.no_grad():
        seen = Forward.of(network, given).run(image, layers, to_the_end(layers), missing_ok=True).seen
    return {address: " × ".join(str(n) for n in tensor.shape) for address, tensor in seen.items()}
