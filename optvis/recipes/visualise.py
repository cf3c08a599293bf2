"""One visualisation, as a view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..engine import OPTIONS, OptVis
from ..view import view
from ..visualisation import Visualisation


@view("vis")
def visualise(
    network: nn.Module,
    objective: Any,
    size: int | Sequence[int] | None = None,
    seed: int | Sequence[int] = 0,
    verbose: bool | str = True,
    **options: Any,
) -> Visualisation:
    """Draw what a layer, channel, neuron, class or any other objective responds to most.

    ::

        visualise(network, "features/12:7", size=128).save("channel.png")

    Args:
        network: any ``nn.Module`` that takes images.
        objective: an ``Objective``, or an address such as ``"features/12:7"``, as for ``OptVis``.
        size: of the picture in pixels or (height, width); by default the network's own, or 224.
        seed: of everything random.
        verbose: as for ``OptVis.vis``.
        options: further arguments of ``OptVis`` and of ``OptVis.vis`` (``mean``, ``device``, ``steps``, ``lr``, ...).
    """
    own = {name: options.pop(name) for name in OPTIONS if name in options}
    return OptVis(network, objective, **own).vis(size, seed=seed, verbose=verbose, **options)
