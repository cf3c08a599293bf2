"""Whole uses, a screenful each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from .engine import OptVis
from .network import LayerShape, NetworkInput, Probe, find_layer, frozen, unwrap
from .objectives import Channel
from .params import ImageParam
from .pictures import Visualisation


def collage(
    network: nn.Module,
    layer: str | nn.Module,
    channels: Iterable[int | str] | None = range(64),
    size: int | Sequence[int] | None = None,
    batch: int | None = None,
    seed: int = 0,
    verbose: bool | str = True,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    device: torch.device | str | None = None,
    **options: Any,
) -> Visualisation:
    """One labelled picture of many channels of a layer; ``.save("collage.png")`` writes it.

    ::

        collage(network, "features/12", channels=range(16)).save("collage.png")

    Args:
        network: any ``nn.Module`` that takes images.
        layer: address or module.
        channels: indices or names, as many as you like; those behind the layer's last are an error. ``None`` for all.
        size: of each picture, in pixels or (height, width); by default the network's own, or 224.
        batch: pictures at once, as for ``vis``.
        seed: every channel is drawn from the same random numbers as it would be alone.
        verbose, mean, std, device: as for ``OptVis`` and ``vis``.
        options: further arguments of ``vis`` (``stages``, ``thresh``, ``lr``, ...).
    """
    address = find_layer(network, layer)
    shape = _layer_shape(network, address, mean, std)
    wanted = list(range(shape.shape[0]) if channels is None else channels)
    whole = OptVis(network, Channel(address, tuple(wanted)), mean=mean, std=std, device=device)
    param = None if size is None else ImageParam(
        size, len(wanted), channels=whole.input.channels, seed=[seed] * len(wanted)
    )  # fmt: skip
    result = whole.vis(param, seed=seed, verbose=verbose, batch=batch, **options)
    result.labels = tuple(_label(address, wanted[picture], shape.names) for picture in result.pictures)
    return result


def _layer_shape(network: nn.Module, layer: str, mean: Any, std: Any) -> LayerShape:
    given = NetworkInput.of(network, mean, std)
    with frozen(network):
        probe = Probe(unwrap(network), [layer], given, given.device)
        return probe.at(probe.network_size(given.default_size) or given.default_size)[layer]


def _label(layer: str, channel: int | str, names: Sequence[str] | None) -> str:
    if isinstance(channel, str):
        return channel
    return names[channel] if names is not None and -len(names) <= channel < len(names) else f"{layer}:{channel}"
