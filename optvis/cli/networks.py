"""Commands that look at a network: its layers, its classes, and the cost of a step."""

from __future__ import annotations

from typing import Annotated

import typer

from ..bench import bench as measure
from ..checks import MOST
from ..network import get_layer_names
from ..network.inputs import named_outputs
from ..zoo import load_network
from . import options as opt
from .command import command
from .terminal import current, say
from .texts import as_size


@command("optvis layers efficientnet_lite0 --depth 2", "optvis layers torchvision:vgg11 --size 224")
def layers(
    network: opt.Network,
    pattern: opt.Pattern = None,
    depth: Annotated[
        int | None, typer.Option(help="Only addresses of at most this many parts.", min=1, max=MOST)
    ] = None,
    size: opt.Size = None,
) -> None:
    """List a network's layers; with --size also the shape of the output of each. Weights are not loaded."""
    loaded = load_network(network, pretrained=False)
    current().found["layers"] = get_layer_names(loaded, as_size(size), True, depth, pattern)


@command("optvis classes efficientnet_lite0", "optvis classes torchvision:vgg11 eagle")
def classes(network: opt.Network, pattern: opt.Pattern = None, names: opt.Names = None) -> None:
    """List the names of a network's classes with their numbers. Weights are not loaded."""
    found = []
    for layer, values in named_outputs(load_network(network, names=names, pretrained=False)).items():
        for number, name in enumerate(values):
            if pattern is None or pattern.lower() in name.lower():
                found.append({"layer": layer, "number": number, "name": name})
                say(f"{layer}{':' if layer else ''}{number}  {name}")
    if not found:
        raise ValueError("the network's outputs have no names" if pattern is None else f"no class contains {pattern!r}")
    current().found["classes"] = found


@command("optvis bench efficientnet_lite0", "optvis bench torchvision:resnet18 --layer layer3")
def bench(
    network: opt.Network,
    layer: Annotated[
        list[str] | None, typer.Option(help="Layers; by default an early one, a middle one and the last.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Pixels; by default the network's own, or 224.", min=8)] = None,
    batch: Annotated[int, typer.Option(help="Pictures at once.", min=1, max=MOST)] = 1,
    weights: opt.Weights = None,
) -> None:
    """Compare the cost of a step with that of a minimal loop in plain torch, on this machine."""
    pixels = as_size(None if size is None else str(size))
    costs = measure(load_network(network, weights), layer or None, pixels, batch, verbose=current().verbose)
    seconds = {name: {loop: cost._asdict() for loop, cost in loops.items()} for name, loops in costs.items()}
    current().found["seconds"] = seconds
