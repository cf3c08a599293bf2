"""Checks of the values of attributions: finite, not zero everywhere, not the same everywhere."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor

from .target_layer import constant


def zeros(values: Tensor) -> Tensor:
    """``[N]``: which maps are zero everywhere."""
    return (values == 0).flatten(1).all(1)


def sound(values: Tensor, method: str, labels: Sequence[str], known: Tensor | None = None) -> Tensor:
    """The values as float32 on the CPU; warns of maps that are not finite, zero (unless ``known``), or constant."""

    def warn(which: Tensor, message: str) -> None:
        images = ", ".join(f"image {i} ({labels[i]!r})" for i in which.nonzero()[:, 0].tolist())
        warnings.warn(f"{method}: {message.format(images)}", stacklevel=4)

    values = values.detach().float().cpu()
    broken = ~values.isfinite().flatten(1).all(1)
    if broken.any():
        values = values.nan_to_num(0, 0, 0)
        warn(broken, "values that are not finite in {}: they are taken as 0")
    empty = zeros(values) if known is None else zeros(values) & ~known
    if empty.any():
        warn(empty, "a map without evidence, zero everywhere, for {}")
    even = constant(values)
    if known is None and values[0, 0].numel() > 1 and even.any():
        warn(even, "the same value everywhere for {}, which says nothing about positions: try another layer")
    return values
