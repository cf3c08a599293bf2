"""Penalties, which are subtracted from an objective: ``Channel("features/18", 12) - 0.1 * TotalVariation()``."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..checks import as_number
from ..network import LayerShape
from .algebra import IMAGE, Objective, objective
from .layers import mean


@objective
class TotalVariation(Objective):
    """The mean absolute difference of neighbouring values, of the image (default) or of a layer's map.

    Rudin, Osher, Fatemi, "Nonlinear total variation based noise removal algorithms", 1992.
    """

    layer: str | nn.Module = IMAGE

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        image = self.activation(activations)
        variations = [mean(image.diff(dim=d).abs()) for d in range(2, image.dim())]
        return sum(variations[1:], variations[0])

    def bound(self, shapes: Mapping[str, LayerShape], full: Mapping[str, LayerShape]) -> Objective:
        if self.layer != IMAGE and len(self.shape_in(full).shape) == 1:
            raise ValueError(f"layer {self.layer!r} puts out one number for each channel, which has no total variation")
        return super().bound(shapes, full)


@objective
class L1(Objective):
    """The mean absolute difference from ``center``, by default 0.5 (mid-grey) for the image and 0 for a layer."""

    layer: str | nn.Module = IMAGE
    center: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.center is not None:
            as_number("center", self.center)

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        return mean(self.difference(activations).abs())

    def difference(self, activations: Mapping[str, Tensor]) -> Tensor:
        """``[N, C, ...]``: the activations minus the center."""
        default = 0.5 if self.layer == IMAGE else 0.0
        return self.activation(activations) - (default if self.center is None else self.center)


@objective
class L2(L1):
    """The mean squared difference from ``center``; arguments as for ``L1``."""

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        return mean(self.difference(activations).square())
