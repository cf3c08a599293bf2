"""Activations of a network's layers for images or a data set, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .checks import Size, as_count, as_list
from .data import Examples, batches
from .network import Extra, Forward, LayerShape, NetworkInput, find_layer, isolated
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
            images, of batches of images, of tuples whose first element is one of these, or of mappings that hold one
            of these as ``"image"``.
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
    found = find_layers(network, layers)
    extra = options.get("extra_inputs", ())
    extra = (extra,) if isinstance(extra, Tensor) else extra
    reader = Reader.of(network, found, given, extra, options.get("channel_axis"))
    return _activations(reader, batches(images, as_count("batch", batch), given))


def _activations(reader: Reader, examples: Iterable[Examples]) -> Iterator[dict[str, Tensor]]:
    for part in examples:
        yield reader(part.images)


def find_layers(network: nn.Module, layers: str | nn.Module | Sequence[str | nn.Module]) -> list[str]:
    """The addresses of one or several layers, each once; raises ``ValueError`` if there are none or one is unknown."""
    listed = [layers] if isinstance(layers, (str, nn.Module)) else as_list("layers", layers, "addresses or modules")
    if not listed:
        raise ValueError("no layers: give at least one address, as get_layer_names(network) lists them")
    return list(dict.fromkeys(find_layer(network, layer) for layer in listed))


@dataclass(frozen=True, eq=False)
class Reader:
    """A network that is ready to give the activations of some of its layers; called with a batch of images."""

    prepared: Prepared
    forward: Forward

    @classmethod
    def of(
        cls,
        network: nn.Module,
        layers: Sequence[str],
        given: NetworkInput,
        extra: Extra = (),
        channel_axis: int | Mapping[str, int] | None = None,
    ) -> Reader:
        """Prepare a network, which is read and never changed, for layers as ``find_layers`` gives them."""
        prepared = Prepared(network, layers, given, extra, channel_axis)
        return cls(prepared, Forward(prepared.shadow, given, extra, given.dtype))

    def shown_size(self, size: Size) -> Size:
        """The size at which the network is shown images of ``size``: the same, unless it takes a single size."""
        with isolated(self.prepared.given.device):
            return self.prepared.probe.network_size(size) or size

    def shapes(self, size: Size) -> Mapping[str, LayerShape]:
        """The shapes of the layers' outputs for an image of ``size``."""
        with isolated(self.prepared.given.device):
            return self.prepared.probed(self.shown_size(size)).layers

    def __call__(self, images: Tensor, gradient: bool = False) -> dict[str, Tensor]:
        """``{address: [n, C, ...]}``, float32, on the network's device, for images ``[n, C, H, W]`` in [0, 1].

        With ``gradient`` the images stay part of the graph.
        """
        given, prepared = self.prepared.given, self.prepared
        with isolated(given.device):
            size = (images.shape[-2], images.shape[-1])
            shown = self.shown_size(size)
            probed = prepared.probed(shown)
            images = images.to(given.device)
            images = images if shown == size else resize(images, shown)
            ready = self.forward.seeded(0, probed.random)
            alone = len(images) > 1 and prepared.probe.alone
            with torch.set_grad_enabled(gradient):
                parts = [ready.activations(part, probed.layers) for part in images.split(1 if alone else len(images))]
                return {layer: torch.cat([part[layer] for part in parts]) for layer in prepared.layers}
