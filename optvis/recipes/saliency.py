"""Saliency: raw, smoothed and integrated gradients of images side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from torch import nn

from ..attribution import Attribution, attribute
from ..attribution.plotting import SIGNS, colour_map, figure_of, title_of
from ..checks import as_count, as_whole, choice
from ..figure import Figure, settings_of
from ..plots import rendered
from ..view import view
from .predictions import MAP_DPI, prediction_text, predictions

ROUNDS = 2
"""The integrated, smoothed map is the mean of this many maps of ``samples`` random points each."""


@view("saliency")
def saliency(
    network: nn.Module,
    images: Any,
    target: Any = None,
    samples: int = 25,
    steps: int = 50,
    noise: float = 0.15,
    sign: str = "absolute",
    *,
    names: Sequence[str] | Mapping[int, str] | str | PathLike[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    seed: int = 0,
    verbose: bool | str = True,
) -> Figure:
    """Images with their prediction and four saliency maps: raw, smoothed, integrated, integrated and smoothed.

    ::

        saliency(network, ["dog.jpg", "cat.jpg"]).save("saliency.png")

    The maps are the gradient, SmoothGrad, integrated gradients from a black image, and integrated gradients under the
    noise of SmoothGrad: the mean over ``2 * samples`` pairs of noise and a point on the path (``gradient_shap``).

    Args:
        network: any network that takes images; it is read only.
        images: in any form that ``attribute`` takes: RGB in [0, 1], paths or PIL images.
        target: class that is explained, by number or name, or anything else that ``attribute`` takes; by default each
            image's most probable class.
        samples: number of noisy images of the smoothed map, and half of those of the integrated, smoothed one.
        steps: number of points on the path of the integrated map.
        noise: standard deviation of the noise, as a fraction of the range of the network's input.
        sign: positions drawn: ``positive`` for those that raise the score, ``negative``, ``absolute`` for both without
            their sign, or ``all`` for both with their sign.
        names: of the network's outputs: a list in their order, a dictionary from numbers to names, or a JSON file of
            one of these; by default the network's own, or ImageNet's.
        mean: of the normalisation, per channel; by default the network's own.
        std: likewise.
        seed: of the noise.
        verbose: as for ``OptVis.vis``.

    Returns:
        A figure with a row for each image. ``values["images"]`` holds the target, its probability and the most
        probable classes of each; ``tensors`` the signed values ``[N, C, H, W]`` of each map.

    Raises:
        ValueError: as ``attribute``, or a number out of range.
        ImportError: matplotlib is not installed.
    """
    as_count("samples", samples)
    as_count("steps", steps)
    as_whole("seed", seed, 0, 2**60)
    colour_map(None, choice("sign", sign, SIGNS))  # raises now, not after the work, if there is no matplotlib
    given: dict[str, Any] = {"mean": mean, "std": std, "names": names, "verbose": verbose}

    def drawn(method: str, **options: Any) -> Attribution:
        result: Attribution = attribute(network, images, method, target, **given, **options)
        return result

    noisy = {"samples": samples, "noise": noise}
    rounds = [
        drawn("gradient_shap", baselines=("black", "black"), seed=ROUNDS * seed + i, **noisy) for i in range(ROUNDS)
    ]
    maps = {
        "raw": drawn("saliency"),
        "smoothed": drawn("smoothgrad", seed=seed, **noisy),
        "integrated": drawn("integrated_gradients", steps=steps),
        "integrated, smoothed": sum(rounds[1:], rounds[0]) / ROUNDS,
    }
    first = maps["raw"]
    facts = predictions(first)
    columns = [first.drawn("original", sign, on="view"), *(one.drawn("heat map", sign) for one in maps.values())]
    rows = [
        list(zip(cells, (title_of(*prediction_text(fact).split("\n")), *maps), strict=True))
        for *cells, fact in zip(*columns, facts, strict=True)
    ]
    options = {"target": target, "samples": samples, "steps": steps, "noise": noise, "sign": sign, "seed": seed}
    settings = settings_of("saliency", network, **options)
    return Figure(
        rendered(figure_of(rows), MAP_DPI),
        {**settings, "attributions": [one.settings for one in maps.values()]},
        {"images": facts},
        {title: one.values.contiguous() for title, one in maps.items()},
    )
