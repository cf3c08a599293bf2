"""Whole uses, a screenful each."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from .engine import OptVis
from .network import LayerShape, NetworkInput, Probe, find_layer, frozen, unwrap
from .objectives import Batch, Channel, Objective, as_objective
from .params import ImageParam
from .visualisation import Visualisation


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
    """One labelled picture of many channels of a layer, or of many objectives; ``.save("collage.png")`` writes it.

    ::

        collage(network, "features/12", channels=range(16)).save("collage.png")
        collage(network, Class("", ["goldfish", "flamingo"])).save("classes.png")

    Args:
        network: any ``nn.Module`` that takes images.
        layer: address or module; or an objective for several pictures (``Class``, ``Channel`` with a list, a list of
            objectives), and then ``channels`` says nothing.
        channels: indices or names, as many as you like; those behind the layer's last are an error. ``None`` for all.
        size: of each picture, in pixels or (height, width); by default the network's own, or 224.
        batch: pictures at once, as for ``vis``.
        seed: every picture is drawn from the same random numbers as it would be alone.
        verbose: as for ``vis``.
        options: further arguments of ``OptVis`` and of ``vis`` (``mean``, ``device``, ``stages``, ``lr``, ...).
    """
    own = {name: options.pop(name) for name in _OWN & options.keys()}
    if isinstance(layer, (str, nn.Module)):
        address = find_layer(network, layer)
        if channels is None:
            channels = range(_layer_shape(network, address, own).shape[0])
        layer = Channel(address, tuple(channels))
    objective = as_objective(layer)
    whole = OptVis(network, objective, **own)
    count = objective.pictures or 1
    param = None if size is None else ImageParam(
        size, count, channels=whole.input.channels, seed=[seed + twin for twin in objective.twins(count)]
    )  # fmt: skip
    result = whole.vis(param, seed=seed, verbose=verbose, batch=batch, **options)
    result.labels = _labels(network, whole.objective.take(result.pictures), len(result.pictures), own)
    return result


_OWN = inspect.signature(OptVis).parameters.keys() - {"network", "objective"}


def _layer_shape(network: nn.Module, layer: str, own: dict[str, Any]) -> LayerShape:
    given = NetworkInput.of(network, own.get("mean"), own.get("std"))
    with frozen(network):
        probe = Probe(unwrap(network), [layer], given, given.device)
        return probe.at(probe.network_size(given.default_size) or given.default_size)[layer]


def _labels(network: nn.Module, objective: Objective, count: int, own: dict[str, Any]) -> tuple[str, ...]:
    """What to write under each picture: the name of its channel, ``layer:channel``, or the objective."""
    if isinstance(objective, Batch):
        return tuple(map(repr, objective.objectives))
    if not isinstance(objective, Channel) or not isinstance(objective.channel, tuple):
        return tuple(repr(objective.take([i])) for i in range(count))
    layer = objective.layers[0]
    names = _layer_shape(network, layer, own).names
    return tuple(
        c if isinstance(c, str) else names[c] if names is not None else f"{layer}:{c}".lstrip(":")
        for c in objective.channel
    )
