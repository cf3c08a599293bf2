"""What networks make of pictures: the class that they name, as the picture is and moved about."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, RandomAffine

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalised(images: Tensor) -> Tensor:
    """Images in [0, 1] as ImageNet networks take them."""
    shape = (3, 1, 1)
    return (images - torch.tensor(MEAN).view(shape)) / torch.tensor(STD).view(shape)


@torch.no_grad()
def ranks(network: nn.Module, images: Tensor, classes: list[int]) -> Tensor:
    """``[N]``: the place of each picture's class among the network's outputs, 0 the first. Takes RGB in [0, 1]."""
    places = []
    for one, index in zip(normalised(images), classes, strict=True):
        logits = network(one[None])[0]
        places.append(int((logits > logits[index]).sum()))
    return torch.tensor(places)


def moved(images: Tensor, seed: int) -> Tensor:
    """Each picture shifted by up to 10 %, turned by up to 15 degrees and scaled by 0.8 to 1.2, on mid-grey.

    By torchvision's transform and other random numbers than any that a picture was made with.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        move = RandomAffine(15, (0.1, 0.1), (0.8, 1.2), interpolation=InterpolationMode.BILINEAR, fill=0.5)
        return torch.stack([move(image) for image in images])
