"""Inversion: what layers still know of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..checks import as_number
from ..figure import Figure, settings_of
from ..network import NetworkInput
from ..objectives import Match, TotalVariation
from ..view import view
from .matching import draw_rows, figure_of, layers_or_default, read_originals, seen_as, similarities


@view("invert")
def invert(
    network: nn.Module,
    images: Any,
    layers: Sequence[str] | str | None = None,
    size: int | None = None,
    steps: int = 512,
    smoothness: float = 0.005,
    *,
    names: Sequence[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    seed: int = 0,
    verbose: bool | str = True,
    **options: Any,
) -> Figure:
    """Draw what layers still know of images: smooth pictures that have the same activations.

    ::

        invert(network, "dog.jpg", ["features/4", "features/12"]).save("inversion.png")

    Each image has a row: the image with the network's prediction, then a picture for each layer, drawn from noise, with
    the error that remains. The score is that of ``Match(layer, image, "l2")`` minus the total variation, without
    transforms. What differs from the image is what the layer no longer tells. After Mahendran, Vedaldi, "Understanding
    Deep Image Representations by Inverting Them", 2015, with the spectrum of natural images as a further prior.

    Args:
        network: any ``nn.Module`` that takes images.
        images: RGB in [0, 1]: a tensor, path, PIL image or array, or a list of these.
        layers: addresses or modules; by default five, from early to late.
        size: of the pictures in pixels or (height, width), to which the images are scaled and cropped; by default the
            network's own, or 224, and that of a tensor.
        steps: number of steps for each layer.
        smoothness: weight of the total variation, 0 or more; 0 for none.
        names: of the network's outputs, in their order.
        mean: of the normalisation, per channel; by default the network's own.
        std: likewise.
        seed: of everything random.
        verbose: as for ``OptVis.vis``.
        options: further arguments of ``OptVis`` and of ``OptVis.vis`` (``device``, ``lr``, ``stages``, ...).

    Returns:
        A figure. ``values`` has ``layers``, ``errors`` (``{layer: [N]}``, |a - t|² / |t|² of the picture's activations
        a and the image's t), ``start`` (the same for the first step's picture) and ``predictions``.

    Raises:
        ValueError: an unknown layer, images that do not fit, or other invalid arguments, before the first step.
    """
    as_number("smoothness", smoothness, low=0)
    # Without transforms the gradients of many steps agree: Adam's longer memory and small steps reach a lower error.
    options = {"transform": False, "optim": torch.optim.Adam, "lr": 0.03, **options}
    options |= {"names": names, "mean": mean, "std": std, "seed": seed, "verbose": verbose}
    given = NetworkInput.of(network, mean, std)
    original = read_originals(network, images, size, given, names, options.get("extra_inputs", ()))
    found = layers_or_default(network, layers, original.images, given, 5)
    objectives = {
        layer: Match(layer, original.images, "l2", same_transforms=bool(options["transform"]))
        - smoothness * TotalVariation()
        for layer in found
    }
    rows, labels = [[image] for image in original.images], [[label] for label in original.labels]
    errors: dict[str, list[float]] = {}
    start: dict[str, list[float]] = {}
    for layer, drawn in draw_rows(network, objectives, original, steps, options):
        scores = similarities(
            network, layer, drawn.images, original.images, "l2", transformed=False, **seen_as(options)
        )
        errors[layer] = [-score for score in scores]
        start[layer] = [round(-score, 4) for score in drawn.history[0].tolist()]
        for row, texts, picture, error in zip(rows, labels, drawn.images, errors[layer], strict=True):
            row.append(picture)
            texts.append(f"{layer}  {error:.1%}")
    values = {"layers": found, "errors": errors, "start": start, "predictions": list(original.predictions)}
    settings = settings_of("invert", network, layers=found, size=size, steps=steps, smoothness=smoothness, **options)
    return Figure(figure_of(rows, labels), settings, values)
