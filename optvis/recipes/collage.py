"""One labelled picture of many channels of a layer, or of many objectives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from ..checks import as_list
from ..engine import OPTIONS, OptVis
from ..network import find_layer
from ..objectives import Channel, Objective
from ..view import view
from ..visualisation import Visualisation


@view("collage")
def collage(
    network: nn.Module,
    layer: str | nn.Module | Objective | Sequence[Any],
    channels: Iterable[int | str] | None = range(64),
    size: int | Sequence[int] | None = None,
    batch: int | None = None,
    seed: int = 0,
    verbose: bool | str = True,
    **options: Any,
) -> Visualisation:
    """Draw many channels of a layer, or many objectives, with a label below each.

    ::

        collage(network, "features/12", channels=range(16)).save("collage.png")
        collage(network, Class("", ["goldfish", "flamingo"])).save("classes.png")

    Args:
        network: any ``nn.Module`` that takes images.
        layer: address or module; or an objective for several pictures (``Class``, ``Channel`` with a list, a list of
            objectives), for which ``channels`` is ignored.
        channels: indices or names of channels of the layer; ``None`` for all.
        size: of each picture, in pixels or (height, width); by default the network's own, or 224.
        batch: number of pictures in the network at once, as for ``vis``.
        seed: of everything random; every picture is the same as if it were drawn alone with this seed.
        verbose: as for ``vis``.
        options: further arguments of ``OptVis`` and of ``vis`` (``mean``, ``device``, ``stages``, ``lr``, ...).
    """
    own = {name: options.pop(name) for name in OPTIONS if name in options}
    if isinstance(layer, (str, nn.Module)):
        address = find_layer(network, layer)
        if channels is None:
            channels = range(OptVis(network, address, **own).shapes()[address].shape[0])
        if not isinstance(channels, range):
            channels = as_list("channels", channels, "a list of numbers or names")
        layer = Channel(address, channels)  # type: ignore[arg-type]
    return OptVis(network, layer, **own).vis(size, seed=seed, verbose=verbose, batch=batch, **options)
