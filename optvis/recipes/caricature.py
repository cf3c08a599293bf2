"""Caricatures: what layers exaggerate in an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..figure import Figure, settings_of
from ..network import NetworkInput
from ..objectives import Match
from ..view import view
from .matching import draw_rows, figure_of, layers_or_default, read_originals, seen_as, similarities

CLOSE = 12.0
"""Weight of the cosine that is added to the score, so that the picture stays like the image. Found empirically."""
RATE = 0.1
"""The default learning rate. Found empirically."""


@view("caricature")
def caricature(
    network: nn.Module,
    images: Any,
    layers: Sequence[str] | str | None = None,
    power: float = 0.5,
    size: int | None = None,
    steps: int = 128,
    *,
    names: Sequence[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    seed: int = 0,
    verbose: bool | str = True,
    **options: Any,
) -> Figure:
    """Draw what layers exaggerate in images: pictures with the same activations, but stronger.

    ::

        caricature(network, "dog.jpg", ["features/4", "features/12"]).save("caricature.png")

    Each image has a row: the image with the network's prediction, then a picture for each layer, drawn from noise, with
    the cosine of its activations to the image's. The score is that of ``Match(layer, image, "dot_cosine", power)`` plus
    12 times the cosine. After Lucid's caricatures (Olah et al., 2018), with the cosine of each image by itself.

    Args:
        network: any ``nn.Module`` that takes images.
        images: RGB in [0, 1]: a tensor, path, PIL image or array, or a list of these.
        layers: addresses or modules; by default three, from early to late.
        power: of the cosine: 0 or more; a lower one exaggerates more.
        size: of the pictures in pixels or (height, width), to which the images are scaled and cropped; by default the
            network's own, or 224, and that of a tensor.
        steps: number of steps for each layer.
        names: of the network's outputs, in their order.
        mean: of the normalisation, per channel; by default the network's own.
        std: likewise.
        seed: of everything random.
        verbose: as for ``OptVis.vis``.
        options: further arguments of ``OptVis`` and of ``OptVis.vis`` (``device``, ``lr``, ``stages``, ...).

    Returns:
        A figure. ``values`` has ``layers``, ``cosines`` (``{layer: [N]}``, the mean over random transforms that were
        not used in the steps) and ``predictions`` (the class with the highest output and its probability, ``None`` for
        a network that is no classifier).

    Raises:
        ValueError: an unknown layer, images that do not fit, or other invalid arguments, before the first step.
    """
    options = {"lr": RATE, "channel_noise": 0.0, "relu_softness": 0.0, **options}
    options |= {"names": names, "mean": mean, "std": std, "seed": seed, "verbose": verbose}
    given = NetworkInput.of(network, mean, std)
    original = read_originals(network, images, size, given, names, options.get("extra_inputs", ()))
    found = layers_or_default(network, layers, original.images, given, 3)
    objectives = {
        layer: Match(layer, original.images, "dot_cosine", power) + CLOSE * Match(layer, original.images, "cosine")
        for layer in found
    }
    rows, labels = [[image] for image in original.images], [[label] for label in original.labels]
    cosines: dict[str, list[float]] = {}
    for layer, drawn in draw_rows(network, objectives, original, steps, options):
        cosines[layer] = similarities(network, layer, drawn.images, original.images, "cosine", **seen_as(options))
        for row, texts, picture, cosine in zip(rows, labels, drawn.images, cosines[layer], strict=True):
            row.append(picture)
            texts.append(f"{layer}  {cosine:.2f}")
    values = {"layers": found, "cosines": cosines, "predictions": list(original.predictions)}
    settings = settings_of("caricature", network, layers=found, power=power, size=size, steps=steps, **options)
    return Figure(figure_of(rows, labels), settings, values)
