"""When views of a training run are drawn, and what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..checks import as_count, as_flag, as_whole, choice, nearest

UNITS = ("steps", "epochs")
MODES = ("train", "eval")


@dataclass(frozen=True)
class Settings:
    """The options of ``Watch``.

    Attributes:
        unit: of ``every``, ``"steps"`` or ``"epochs"``; by default that of the method that is called first, and steps
            in Lightning and Hugging Face.
        mode: ``"train"``, or ``"eval"`` to draw at the end of a validation of Lightning or an evaluation of Hugging
            Face, at least ``every`` steps or epochs after the drawing before.
        n_inputs: number of images to look at.
        resample_inputs: True to take other images for each drawing, False to keep the same ones.
        n_data: number of images in the larger set for views such as ``confusion`` and ``embed``.
        normalised: True if the images in ``data`` are normalised with ``mean`` and ``std``.
        mean: of the normalisation, per channel; by default the network's own, or what is assumed.
        std: likewise.
        names: of the network's outputs, in their order.
        seed: of everything random, the same for each drawing.

    Raises:
        ValueError: a value that is not one of these.
    """

    unit: str | None = None
    mode: str = "train"
    n_inputs: int = 8
    resample_inputs: bool = False
    n_data: int = 256
    normalised: bool = False
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    names: Sequence[str] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.unit is not None:
            choice("unit", self.unit, UNITS)
        choice("mode", self.mode, MODES)
        as_count("n_inputs", self.n_inputs)
        as_count("n_data", self.n_data)
        as_flag("resample_inputs", self.resample_inputs)
        as_flag("normalised", self.normalised)
        as_whole("seed", self.seed, 0, 2**62)

    @classmethod
    def of(cls, options: dict[str, Any]) -> Settings:
        """From options by name; raises ``TypeError`` for an unknown one."""
        known = [field.name for field in fields(cls)]
        for option in options:
            if option not in known:
                raise TypeError(f"Watch has no option {option!r}: {nearest(option, known)}")
        return cls(**options)
