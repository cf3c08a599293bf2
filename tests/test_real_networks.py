"""What the thing is for, on real networks: pictures that networks recognise, and channels that draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from optvis import ImageFile, OptVis
from optvis.network import Tap
from optvis.network.imagenet import IMAGENET_MEAN, IMAGENET_STD

CLASSES = {1: "goldfish", 130: "flamingo", 207: "golden retriever", 323: "monarch"}
SILENT = [0, 2, 3, 4]  # of features/12 of SqueezeNet: exactly zero on the grey that a picture begins with


def normalised(images: Tensor) -> Tensor:
    shape = (1, 3, 1, 1)
    return (images - torch.tensor(IMAGENET_MEAN).view(shape)) / torch.tensor(IMAGENET_STD).view(shape)


@torch.no_grad()
def places(network: nn.Module, images: Tensor) -> list[int]:
    """The place of each picture's class among the outputs, 0 the first."""
    logits = network(normalised(images))
    return [int((row > row[index]).sum()) for row, index in zip(logits, CLASSES, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "first", "five"),
    [("mobilenet_v2", 5, 7), ("squeezenet1_0", 3, 5)],
)
def test_class_pictures_are_recognised(
    name: str, first: int, five: int, real_network: Callable[[str], nn.Module]
) -> None:
    """By the network itself, and by two others (so many of 8): see ``benchmarks`` for 50 classes."""
    network = real_network(name)
    images = OptVis.from_class(network, list(CLASSES)).vis(verbose=False).images
    assert places(network, images) == [0] * len(CLASSES)
    others = {"resnet18_pq", "mobilenet_v2", "squeezenet1_0"} - {name}
    found = [place for other in sorted(others) for place in places(real_network(other), images)]
    assert sum(place < 1 for place in found) >= first and sum(place < 5 for place in found) >= five, found


@pytest.mark.slow
def test_silent_channels_draw(real_network: Callable[[str], nn.Module], photographs: list[Path]) -> None:
    network = real_network("squeezenet1_0")
    with torch.no_grad(), Tap(network, ["features/12"]) as tap:
        grey = tap(normalised(torch.full((1, 3, 112, 112), 0.5)))["features/12"][0, SILENT]
        seen = torch.cat([tap(normalised(ImageFile(path, (224, 224))()))["features/12"] for path in photographs])
    assert not grey.any()
    made = OptVis.from_layer(network, "features/12", channel=SILENT).vis(verbose=False)
    assert (made.scores > seen.mean((2, 3))[:, SILENT].amax(0)).all()
