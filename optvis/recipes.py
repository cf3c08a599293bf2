"""Whole uses, a screenful each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from .engine import OptVis
from .network import LayerShape, NetworkInput, Probe, find_layer, frozen, unwrap
from .objectives import Channel
from .params import ImageParam, Param
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
        batch: pictures at once; by default 8 on a CPU and 64 on a GPU, halved for as long as memory runs out.
        seed: every channel is drawn from the same random numbers as it would be alone.
        verbose, mean, std, device: as for ``OptVis`` and ``vis``.
        options: further arguments of ``vis`` (``stages``, ``thresh``, ``lr``, ...).
    """
    address = find_layer(network, layer)
    shape = _layer_shape(network, address, mean, std)
    wanted = list(range(shape.shape[0]) if channels is None else channels)
    whole = OptVis(network, Channel(address, tuple(wanted)), mean=mean, std=std, device=device)
    if batch is None:
        batch = 64 if whole.device.type == "cuda" else 8
    if batch < 1:
        raise ValueError(f"batch {batch}: give a whole number of at least 1")
    parts: list[Visualisation] = []
    done = 0
    while done < len(wanted):
        some = OptVis(network, whole.objective.take(range(done, min(done + batch, len(wanted)))), mean=mean, std=std,
                      device=device)  # fmt: skip
        count = some.objective.pictures or 1
        param = None if size is None else ImageParam(size, count, channels=some.input.channels, seed=[seed] * count)
        try:
            part = some.vis(param, seed=seed, verbose=verbose, **options)
        except RuntimeError as error:
            if batch == 1 or not _out_of_memory(error):
                raise
            batch = math.ceil(batch / 2)
            continue
        ended_early = len(part.history) < sum(steps for _, steps in part.settings["stages"])
        if not (parts and ended_early):  # beside finished pictures no unfinished ones are kept
            parts.append(part)
            done += count
        if ended_early:
            break
    return Visualisation(
        Param.join([part.param for part in parts]),
        torch.cat([part.scores for part in parts]),
        torch.cat([part.history for part in parts], dim=1),
        {step: torch.cat([part.frames[step] for part in parts]) for step in parts[0].frames},
        {**parts[0].settings, "objective": repr(whole.objective.take(range(done)))},
        labels=[_label(address, channel, shape.names) for channel in wanted[:done]],
    )


def _layer_shape(network: nn.Module, layer: str, mean: Any, std: Any) -> LayerShape:
    given = NetworkInput.of(network, mean, std)
    with frozen(network):
        probe = Probe(unwrap(network), [layer], given, given.device)
        return probe.at(probe.network_size(given.default_size) or given.default_size)[layer]


def _label(layer: str, channel: int | str, names: Sequence[str] | None) -> str:
    if isinstance(channel, str):
        return channel
    return names[channel] if names is not None and -len(names) <= channel < len(names) else f"{layer}:{channel}"


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
