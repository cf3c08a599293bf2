"""What the thing is for, on real networks: pictures that networks recognise, and channels that draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from optvis import ImageFile, OptVis
from optvis.network import Tap
from optvis.network.probe import IMAGENET_MEAN, IMAGENET_STD

CLASSES = {1: "goldfish", 130: "flamingo", 207: "golden retriever", 323: "monarch"}
SILENT = [0, 2, 3, 4]  # of features/12 of SqueezeNet: exactly zero on the grey that a picture begins with


def normalised(images: Tensor) -> Tensor:
    shape = (1, 3, 1, 1)
    return (images - torch.tensor(IMAGENET_MEAN).view(shape)) / torch.tensor(IMAGENET_STD).view(shape)


@torch.no_grad()
def places(network: nn.Module, images: Tensor) -> list[int]:
    """The place of each picture's class among the outputs, 0 the first."""
    logits = network(normalised(images))
    return [int((row > row[index]).sum()) for row, index in zip(logits, CLASSES)]


def test_class_pictures_are_recognised(real_network: Callable[[str], nn.Module]) -> None:
    network = real_network("squeezenet1_0")
    images = OptVis.from_layer(network, "classifier", channel=list(CLASSES)).vis(verbose=False).images
    assert places(network, images) == [0] * len(CLASSES)
    others = [places(real_network(name), images) for name in ("resnet18_pq", "mobilenet_v2")]
    assert sum(place < 5 for other in others for place in other) >= 5  # of 8


def test_silent_channels_draw(real_network: Callable[[str], nn.Module], photographs: list[Path]) -> None:
    network = real_network("squeezenet1_0")
    with torch.no_grad(), Tap(network, ["features/12"]) as tap:
        grey = tap(normalised(torch.full((1, 3, 112, 112), 0.5)))["features/12"][0, SILENT]
        seen = torch.cat([tap(normalised(ImageFile(path, (224, 224))()))["features/12"] for path in photographs])
    assert not grey.any()
    made = OptVis.from_layer(network, "features/12", channel=SILENT).vis(verbose=False)
    assert (made.scores > seen.mean((2, 3))[:, SILENT].amax(0)).all()
