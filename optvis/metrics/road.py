"""ROAD, remove and debias: removed pixels are filled in so that their shape does not show."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import as_list, as_number, as_whole, choice, real, shown
from .curves import Curve
from .scorer import Extra, Map, importance, scoring

_NEIGHBOURS = torch.tensor([[1.0, 2.0, 1.0], [2.0, 0.0, 2.0], [1.0, 2.0, 1.0]]) / 12
_TOLERANCE = 1e-5
_CHECK = 16


def road(
    network: nn.Module,
    attribution: Map,
    percentages: Sequence[float] = (10, 20, 30, 40, 50, 60, 70, 80, 90),
    order: str = "most",
    noise: float = 0.01,
    softmax: bool = True,
    sign: str = "all",
    seed: int = 0,
    batch_size: int = 32,
    extra_inputs: Extra = (),
) -> Curve:
    """The score as pixels are removed and filled in from their neighbours.

    The shape of a blackened part shows what was there. Here each removed pixel becomes a weighted mean of its
    neighbours, with a little noise (Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution
    Methods", 2022). With ``order="most"`` a small area is good, with ``"least"`` a large one.

    Arguments besides those of ``deletion``:
        percentages: of pixels that are removed, each above 0 and below 100, rising.
        order: ``"most"`` or ``"least"`` important pixels first.
        noise: standard deviation of the noise on the filled-in pixels.
        seed: of the noise, which is the same for each image.

    Returns:
        A curve with a point for each percentage.
    """
    listed = as_list("percentages", percentages, "numbers above 0 and below 100, rising")
    shares = [(real(one) or 0) / 100 for one in listed]
    if not shares or not all(0 < share < 1 for share in shares) or sorted(set(shares)) != shares:
        raise ValueError(f"percentages {shown(listed)}: give one or more above 0 and below 100, rising")
    noise, seed = as_number("noise", noise, 0), as_whole("seed", seed, -(2**63), 2**63 - 1)
    generator = torch.Generator().manual_seed(seed)
    important = importance(attribution, sign)
    important = important if choice("order", order, ("most", "least")) == "most" else -important
    pixels = important[0].numel()
    # At least one pixel is left to fill in from.
    counts = torch.tensor([min(round(share * pixels), pixels - 1) for share in shares], device="cpu")
    with scoring(network, attribution, softmax, batch_size, extra_inputs) as scorer:
        images = scorer.context.images
        drawn = torch.randn(images.shape[1:], generator=generator, dtype=torch.float32).to(images)

        def filled(image: Tensor, gone: Tensor) -> Tensor:
            smooth = impute(images[image], gone)
            return torch.where(gone, (smooth + noise * drawn).clamp(0, 1), smooth)

        return Curve.of(shares, scorer.most_important(important, counts, filled))


def impute(images: Tensor, gone: Tensor, most_steps: int = 2000) -> Tensor:
    """Images with some pixels filled in: each is the weighted mean of its (up to eight) neighbours.

    Horizontal and vertical neighbours have twice the weight of diagonal ones. Filled-in pixels depend on each other:
    their linear system is symmetric and positive definite, and is solved by conjugate gradients.

    Args:
        images: ``[M, C, H, W]``.
        gone: ``[M, 1, H, W]``, true where a pixel is to be filled in; ``ValueError`` if it is true everywhere.
        most_steps: of the solver, which stops once the residual is 1e-5 of the right-hand side.
    """
    if gone.flatten(1).all(1).any():
        raise ValueError("nothing is left of an image: there is no neighbour to fill in from")
    # Apple's GPUs have no float64.
    known = images.to(torch.float32 if images.device.type == "mps" else torch.float64)
    channels = known.shape[1]
    hole = gone.to(known)
    kernel = _NEIGHBOURS.to(known).expand(channels, 1, 3, 3)

    def around(x: Tensor) -> Tensor:
        return F.conv2d(x, kernel, padding=1, groups=channels)

    weight = around(torch.ones_like(known[:1]))  # less than 1 at the edge

    def system(x: Tensor) -> Tensor:
        return hole * (weight * x - around(x))

    def dot(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum((2, 3), keepdim=True)

    left = 1 - hole
    right = hole * around(left * known)
    x = hole * (dot(left, known) / left.sum((2, 3), keepdim=True))  # begin with the mean of the other pixels
    residual = right - system(x)
    direction, square = residual, dot(residual, residual)
    enough = _TOLERANCE**2 * dot(right, right)
    for step in range(most_steps):
        if step % _CHECK == 0 and bool((square <= enough).all()):
            break
        along = system(direction)
        length = _ratio(square, dot(direction, along))
        x = x + length * direction
        residual = residual - length * along
        before, square = square, dot(residual, residual)
        direction = residual + _ratio(square, before) * direction
    return torch.where(gone, x.to(images.dtype), images)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """The ratio; 0 for a system that is solved already."""
    return torch.where(below > 0, above / torch.where(below > 0, below, 1), 0)
