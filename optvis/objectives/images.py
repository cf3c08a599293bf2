"""Penalties, to be subtracted: ``Channel("features/18", 12) - 0.1 * TotalVariation()``."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..checks import as_number
from .algebra import IMAGE, Objective, objective
from .fields import Shape
from .layers import mean


@objective
class TotalVariation(Objective):
    """The mean absolute difference of neighbouring values, in the image (default) or in a layer's map.

    Rudin, Osher, Fatemi, "Nonlinear total variation based noise removal algorithms", 1992.

    Args:
        layer: address or module; ``"@image"`` is the image.
    """

    layer: str | nn.Module = IMAGE

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        image = self.activation(activations)
        return sum(mean(image.diff(dim=d).abs()) for d in range(2, image.dim()))  # type: ignore

    def bound(self, shapes: Mapping[str, Shape], full: Mapping[str, Shape]) -> Objective:
        if self.layer != IMAGE and len(self.shape_in(full).shape) == 1:
            raise ValueError(f"layer {self.layer!r} puts out one number for each channel, which has no total variation")
        return super().bound(shapes, full)


@objective
class L1(Objective):
    """The mean distance from ``center``.

    Args:
        layer: address or module; ``"@image"`` is the image.
        center: any number; by default 0.5 (mid-grey) for the image and 0 for a layer.
    """

    layer: str | nn.Module = IMAGE
    center: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.center is not None:
            as_number("center", self.center)

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        return mean((self.activation(activations) - _center(self)).abs())


@objective
class L2(Objective):
    """The mean squared distance from ``center``.

    Args:
        layer: address or module; ``"@image"`` is the image.
        center: any number; by default 0.5 (mid-grey) for the image and 0 for a layer.
    """

    layer: str | nn.Module = IMAGE
    center: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.center is not None:
            as_number("center", self.center)

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        return mean((self.activation(activations) - _center(self)).square())


def _center(penalty: L1 | L2) -> float:
    if penalty.center is not None:
        return penalty.center
    return 0.5 if penalty.layer == IMAGE else 0.0
