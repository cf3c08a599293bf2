"""Activations of a network's layers for images or a data set, batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from .checks import as_count, as_list, shown
from .images import fit, read_image, with_channels
from .network import Forward, NetworkInput, find_layer, isolated
from .prepared import Prepared
from .transforms import resize


def activations(
    network: nn.Module,
    images: Any,
    layers: str | nn.Module | Sequence[str | nn.Module],
    batch: int = 16,
    **options: Any,
) -> Iterator[dict[str, Tensor]]:
    """Activations of layers for images, one batch at a time; at most one batch is held in memory.

    ::

        for found in activations(network, "photographs/", ["features/6", "features/12"]):
            strongest = found["features/12"].flatten(2).amax(2)  # [n, C]

    Args:
        network: any ``nn.Module`` that takes images; it is read, never changed.
        images: RGB (or the channels that the network takes) in [0, 1], before any normalisation: a tensor
            ``[N, C, H, W]``; a path, PIL image or array; a list of these; a folder, searched with its subfolders for
            image files, in the order of their paths; a data set or an iterable (a ``DataLoader``, a generator) of
            images, of batches of images, or of tuples whose first element is one of these.
        layers: addresses or modules.
        batch: number of images in one batch.
        options: ``mean``, ``std``, ``extra_inputs`` and ``channel_axis`` of ``OptVis``.

    Yields:
        ``{address: [n, C, ...]}``, float32, channels first, on the network's device; n is ``batch``, or less for the
        last batch and where the image size changes. Files and PIL images are fitted to the network's size, or 224 px.

    Raises:
        ValueError: an unknown layer, a layer whose channel axis is unclear, or images that do not fit. Raised before
            the first batch, except for faults of a single image.
        TypeError: ``images`` holds no images, or an unknown option.
    """
    unknown = sorted(options.keys() - {"mean", "std", "extra_inputs", "channel_axis"})
    if unknown:
        raise TypeError(f"activations has no option {unknown[0]!r}: give mean, std, extra_inputs or channel_axis")
    given = NetworkInput.of(network, options.get("mean"), options.get("std"))
    listed = [layers] if isinstance(layers, (str, nn.Module)) else as_list("layers", layers, "addresses or modules")
    found = [find_layer(network, layer) for layer in listed]
    if not found:
        raise ValueError("no layers: give at least one address, as get_layer_names(network) lists them")
    extra = options.get("extra_inputs", ())
    extra = (extra,) if isinstance(extra, Tensor) else extra
    prepared = Prepared(network, list(dict.fromkeys(found)), given, extra, options.get("channel_axis"))
    return _activations(prepared, _batches(images, as_count("batch", batch), given))


def _activations(prepared: Prepared, batches: Iterable[Tensor]) -> Iterator[dict[str, Tensor]]:
    given = prepared.given
    forward = Forward(prepared.shadow, given, prepared.extra, given.dtype)
    for images in batches:
        with isolated(given.device):
            size = (images.shape[-2], images.shape[-1])
            shown = prepared.probe.network_size(size)
            probed = prepared.probed(shown or size)
            images = images.to(given.device)
            images = images if shown is None else resize(images, shown)
            ready = forward.seeded(0, probed.random)
            alone = len(images) > 1 and prepared.probe.alone
            with torch.no_grad():
                parts = [ready.activations(part, probed.layers) for part in images.split(1 if alone else len(images))]
        yield {layer: torch.cat([part[layer] for part in parts]) for layer in prepared.layers}


def _batches(images: Any, batch: int, given: NetworkInput) -> Iterator[Tensor]:
    """Images ``[n, C, H, W]`` in [0, 1], all of one size, at most ``batch`` at once."""
    waiting: list[Tensor] = []
    count = 0
    for image in _each(images):
        try:
            read = with_channels(read_image(image), given.channels)
            if not isinstance(image, Tensor) and not hasattr(image, "shape"):
                read = fit(read, given.default_size)
        except ValueError as error:
            raise ValueError(f"image {count}: {error}") from error
        for one in read:
            if waiting and (len(waiting) == batch or one.shape != waiting[0].shape):
                yield torch.stack(waiting)
                waiting = []
            waiting.append(one)
            count += 1
    if not waiting:
        raise ValueError("there are no images: give at least one")
    yield torch.stack(waiting)


def _each(images: Any) -> Iterator[Any]:
    """The images one after another, singly or in batches."""
    if isinstance(images, (str, os.PathLike)) and Path(images).is_dir():
        endings = Image.registered_extensions()
        files = sorted(path for path in Path(images).rglob("*") if path.suffix.lower() in endings)
        if not files:
            raise ValueError(f"folder {str(images)!r} holds no images")
        yield from files
    elif isinstance(images, (str, os.PathLike, Image.Image, Tensor)) or hasattr(images, "__array__"):
        yield from read_image(images).split(1) if isinstance(images, Tensor) else [images]
    elif hasattr(images, "__getitem__") and hasattr(images, "__len__") and not isinstance(images, Mapping):
        yield from _each(images[i] for i in range(len(images)))  # a data set need not raise IndexError at its end
    elif isinstance(images, Iterable):
        yield from (item[0] if isinstance(item, (tuple, list)) else item for item in images)
    else:
        raise TypeError(f"no images: {shown(images)}; give a tensor, paths, a folder, a data set or a DataLoader")
