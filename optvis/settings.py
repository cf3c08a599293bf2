"""Settings: all choices that decide a picture, as frozen data that can be written as JSON and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch

from .checks import (
    Size,
    as_count,
    as_flag,
    as_function,
    as_kind,
    as_list,
    as_number,
    as_size,
    as_whole,
    choice,
    is_list,
    shown,
)
from .network import Extra, NetworkInput
from .network.precision import PRECISIONS
from .objectives import Objective
from .objectives.algebra import IMAGE
from .params import Param
from .scheduler import Until, plateau
from .serial import from_data, to_data
from .stages import Stage, plan_stages, plan_thresh
from .tiles import tile_size
from .transforms import Compose, standard


def adam(parameters: Iterable[torch.Tensor], lr: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Adam with a short memory, betas of 0.5 and 0.99.

    The image changes fast, and transforms differ in each step, so that gradients of ten steps ago mislead. Other
    networks recognise more pictures made in few steps than with torch's default betas of 0.9 and 0.999.
    """
    return torch.optim.Adam(parameters, lr=lr, betas=(0.5, 0.99), weight_decay=weight_decay)


RATES: dict[Any, float] = {
    torch.optim.Adadelta: 100.0,
    torch.optim.Adagrad: 0.3,
    torch.optim.RMSprop: 0.03,
    torch.optim.SGD: 0.3,
}
"""Default learning rates other than 0.1, found empirically on classes of EfficientNet-Lite0 and SqueezeNet."""


SOFTNESS = 0.8
"""The default softness of ReLU gradients, found empirically."""


@dataclass(frozen=True, eq=False)
class Settings:
    """All choices that decide a picture: the arguments of ``OptVis`` and ``OptVis.vis``, checked on creation."""

    objective: Objective
    transforms: Compose
    optim: Callable[..., torch.optim.Optimizer] = adam
    grad_tfms: tuple[Callable[..., Any], ...] = ()
    mean: Any = None
    std: Any = None
    extra_inputs: Extra = ()
    channel_axis: int | Mapping[str, int] | None = None
    names: tuple[str, ...] | None = None
    channel_noise: float | None = None
    relu_softness: float = SOFTNESS
    img_param: Param | None = None
    size: Size | None = None
    stages: tuple[Stage, ...] | None = None
    thresh: tuple[int, ...] | None = None
    transform: bool = True
    lr: float | None = None
    wd: float = 0.0
    seed: int | tuple[int, ...] = 0
    precision: str = "auto"
    batch: int | None = None
    until: Any = None
    compile: bool = False
    tile: int | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in _CHECKS and (value is not None or f.default is not None):
                object.__setattr__(self, f.name, _CHECKS[f.name](f.name, value))
        if not isinstance(self.precision, str) or self.precision not in (*PRECISIONS, "auto"):
            raise ValueError(f"precision {shown(self.precision)}: choose 'auto', 'fp32', 'bf16' or 'fp16'")
        if self.until is not None:
            if not callable(self.until) and not (isinstance(self.until, str) and self.until == "plateau"):
                raise ValueError(
                    f"until={shown(self.until)}: choose 'plateau', a function of a picture and its scores, or None"
                )
            if self.thresh:
                raise ValueError("until lets each picture end at its own step, thresh ends all at one: give one")
            if self.objective.coupled:
                raise ValueError(f"until lets pictures leave one by one, {self.objective!r} needs them together")
        if self.tile is not None and self.objective.placed:
            raise ValueError(f"{self.objective!r} depends on absolute position, lost in tiles: leave tile= out")
        asked, size = self.objective.pictures, self.size
        if self.img_param is not None:
            size, found = self.img_param.size, self.img_param.batch
            if asked not in (None, found):
                raise ValueError(
                    f"the objective makes {asked} pictures, the parameterisation has {found}: write batch={asked}"
                )
        if isinstance(self.seed, tuple) and len(self.seed) != self.count:
            raise ValueError(f"{len(self.seed)} seeds for {self.count} pictures: give one for each, or one for all")
        if size is not None and self.stages is not None and self.stages[-1].size != size:
            raise ValueError(
                f"the stages end at {self.stages[-1].size}, the parameterisation has {size}: let both be the same size"
            )

    def to_data(self, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
        """The settings as JSON data; tensors are added to ``tensors`` under the names that the data uses.

        Functions, which JSON cannot hold, are described by name and cannot be read back.
        """
        data = {f.name: to_data(getattr(self, f.name), tensors) for f in fields(self)}
        name = getattr(self.optim, "__name__", "")
        return {**data, "optim": name} if _OPTIMISERS.get(name) is self.optim else data

    @classmethod
    def from_data(cls, data: Mapping[str, Any], tensors: dict[str, torch.Tensor]) -> Settings:
        """The settings that ``to_data`` wrote; raises ``ValueError`` on what a file cannot hold."""
        strange, missing = data.keys() - {f.name for f in fields(cls)}, {"objective", "transforms"} - data.keys()
        if strange:
            raise ValueError(f"settings hold {min(strange)!r}, which this version of optvis does not know")
        if missing:
            raise ValueError(f"settings hold no {min(missing)!r}")
        optim = data.get("optim", "adam")
        if not isinstance(optim, str) or optim not in _OPTIMISERS:
            raise ValueError(f"drawn with an optimiser that a file cannot hold: {optim!r}")
        given = {name: from_data(value, tensors) for name, value in data.items() if name != "optim"}
        return cls(**given, optim=_OPTIMISERS[optim])

    def take(self, pictures: Sequence[int]) -> Settings:
        """The settings of only some of the pictures."""
        param = None if self.img_param is None else self.img_param.take(pictures)
        seed = tuple(self.seed[i] for i in pictures) if isinstance(self.seed, tuple) else self.seed
        return replace(self, objective=self.objective.take(pictures), img_param=param, seed=seed)

    @property
    def rate(self) -> float:
        """The learning rate: the given one, or the optimiser's default."""
        return RATES.get(self.optim, 0.1) if self.lr is None else self.lr

    @property
    def leave(self) -> Until | None:
        """The function that lets a picture leave a stage early; ``None`` for never."""
        return plateau if self.until == "plateau" else self.until

    @property
    def count(self) -> int:
        """Number of pictures."""
        if self.objective.pictures or self.img_param is not None:
            return self.objective.pictures or self.img_param.batch  # type: ignore[union-attr]
        return len(self.seed) if isinstance(self.seed, tuple) else 1

    @property
    def seeds(self) -> tuple[int, ...]:
        """A seed for each picture: pictures of different objectives have the same one, as if drawn alone."""
        if isinstance(self.seed, tuple):
            return self.seed
        return tuple(self.seed + twin for twin in self.objective.twins(self.count))

    @property
    def layers(self) -> list[str]:
        """Addresses of the layers that the objective needs."""
        return [layer for layer in self.objective.layers if layer != IMAGE]

    def seen_size(self, size: Size) -> Size:
        """The size at which the network gets a picture of ``size``: that of a tile, if there are tiles."""
        return tile_size(size, self.tile) if self.tile is not None else size

    def final_size(self, given: NetworkInput) -> Size:
        """(height, width) of the finished picture in pixels."""
        if self.img_param is not None:
            return self.img_param.size
        return self.stages[-1].size if self.stages else self.size or given.default_size


def as_optimiser(value: Any) -> Callable[..., torch.optim.Optimizer]:
    """An optimiser's class from itself or from its name, in any case; ``"adam"`` is ``adam``.

    Raises:
        ValueError: an unknown name; the message has the nearest.
        TypeError: neither a class, a function nor a name.
    """
    if not isinstance(value, str):
        return as_function("optim", value, "an optimiser's class, such as torch.optim.AdamW, or its name")
    known = {name.lower(): kind for name, kind in _OPTIMISERS.items() if kind is not torch.optim.Adam}
    return known[choice("optimiser", value.lower(), known)]


def _several(value: Any) -> tuple[Any, ...]:
    """A tuple from one thing, several, or ``None`` for none."""
    return () if value is None else tuple(value) if isinstance(value, (list, tuple)) else (value,)


_seed = partial(as_whole, "seed", low=0, high=2**62)

_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "objective": lambda _, value: as_kind(value, Objective, "an objective is one such as Channel('features/18', 12)"),
    "transforms": lambda _, value: standard() if value is None else Compose(_several(value)),
    "grad_tfms": lambda name, value: tuple(
        as_function(name, one, "functions from a gradient to a gradient") for one in _several(value)
    ),
    "extra_inputs": lambda _, value: (value,) if isinstance(value, torch.Tensor) else value,
    "channel_noise": partial(as_number, low=0, high=1, ends="[)"),
    "relu_softness": partial(as_number, low=0),
    "img_param": lambda _, value: as_kind(value, Param, "img_param is a parameterisation such as ImageParam(224)"),
    "size": lambda _, value: as_size(value),
    "stages": lambda _, value: plan_stages(value),
    "thresh": lambda _, value: plan_thresh(value),
    "transform": as_flag,
    "lr": partial(as_number, low=0),
    "wd": partial(as_number, low=0),
    "seed": lambda _, value: tuple(map(_seed, value)) if is_list(value) else _seed(value),
    "names": lambda name, value: tuple(map(str, as_list(name, value, "a list of the names of the outputs"))),
    "batch": as_count,
    "compile": as_flag,
    "tile": as_count,
}

_OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": adam,
    **{name: kind for name, kind in vars(torch.optim).items() if isinstance(kind, type) and name != "Optimizer"},
}
"""Those that a file can hold."""
