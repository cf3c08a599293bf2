"""Penalties, to be subtracted: ``Channel("features/18", 12) - 0.1 * TotalVariation()``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from .algebra import IMAGE
from .layers import _OfLayer, mean


@dataclass(frozen=True, eq=False, repr=False)
class _Penalty(_OfLayer):
    layer: str = IMAGE


@dataclass(frozen=True, eq=False, repr=False)
class TotalVariation(_Penalty):
    """The mean absolute difference of neighbouring values, in the image (default) or in a layer's map.

    Rudin, Osher, Fatemi, "Nonlinear total variation based noise removal algorithms", 1992.
    """

    def score(self, seen: Mapping[str, Tensor]) -> Tensor:
        image = self.seen(seen)
        return sum(mean(image.diff(dim=d).abs()) for d in range(2, image.dim()))  # type: ignore


@dataclass(frozen=True, eq=False, repr=False)
class L1(_Penalty):
    """The mean distance from ``center`` (mid-grey for the image, 0 for a layer)."""

    center: float | None = None

    def score(self, seen: Mapping[str, Tensor]) -> Tensor:
        return mean((self.seen(seen) - _center(self)).abs())


@dataclass(frozen=True, eq=False, repr=False)
class L2(_Penalty):
    """The mean squared distance from ``center`` (mid-grey for the image, 0 for a layer)."""

    center: float | None = None

    def score(self, seen: Mapping[str, Tensor]) -> Tensor:
        return mean((self.seen(seen) - _center(self)).square())


def _center(penalty: L1 | L2) -> float:
    if penalty.center is not None:
        return penalty.center
    return 0.5 if penalty.layer == IMAGE else 0.0
