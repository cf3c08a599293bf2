"""Settings: all choices that decide a picture, as frozen data that can be written as JSON and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from .checks import Size, as_count, as_flag, as_function, as_list, as_number, as_size, as_whole, shown
from .network import Extra, NetworkInput
from .network.precision import PRECISIONS
from .objectives import Objective
from .objectives.algebra import IMAGE
from .params import Param
from .scheduler import Until, plateau
from .serial import from_data, to_data
from .stages import plan_stages, plan_thresh
from .tiles import tile_size
from .transforms import Compose, standard


def adam(parameters: Iterable[torch.Tensor], lr: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Adam with a short memory, betas of 0.5 and 0.99.

    The image changes fast, and transforms differ in each step, so that gradients of ten steps ago mislead. Other
    networks recognise more pictures made in few steps than with torch's default betas of 0.9 and 0.999.
    """
    return torch.optim.Adam(parameters, lr=lr, betas=(0.5, 0.99), weight_decay=weight_decay)


SOFTNESS = 0.8
"""The default softness of ReLU gradients, found empirically."""


@dataclass(frozen=True, eq=False)
class Settings:
    """All choices that decide a picture.

    Attributes have the names of the arguments of ``OptVis`` and ``OptVis.vis``, and are checked on creation.

    Raises:
        ValueError: an invalid value; the message names it and valid ones.
        TypeError: a value of a wrong type.
    """

    objective: Objective
    transforms: Compose
    optim: Callable[..., torch.optim.Optimizer] = adam
    grad_tfms: tuple[Callable[..., Any], ...] = ()
    mean: Any = None
    std: Any = None
    extra_inputs: Extra = ()
    channel_axis: int | Mapping[str, int] | None = None
    channel_noise: float | None = None
    relu_softness: float = SOFTNESS
    img_param: Param | None = None
    size: Any = None
    stages: Any = None
    thresh: Any = None
    transform: bool = True
    lr: float = 0.1
    wd: float = 0.0
    seed: int = 0
    precision: str = "auto"
    batch: int | None = None
    until: Any = None
    compile: bool = False
    tile: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.objective, Objective):
            raise TypeError(f"an objective is one such as Channel('features/18', 12), not {shown(self.objective)}")
        if not isinstance(self.transforms, Compose):
            raise TypeError(f"transforms are a Compose, not {shown(self.transforms)}")
        checked: dict[str, Any] = {
            "relu_softness": as_number("relu_softness", self.relu_softness, 0),
            "lr": as_number("lr", self.lr, 0),
            "wd": as_number("wd", self.wd, 0),
            "seed": as_whole("seed", self.seed, 0, 2**62),
        }
        if self.size is not None:
            checked["size"] = as_size(self.size)
        if self.thresh is not None:
            checked["thresh"] = plan_thresh(self.thresh)
        if self.channel_noise is not None:
            checked["channel_noise"] = as_number("channel_noise", self.channel_noise, 0, 1, ends="[)")
        for name in ("transform", "compile"):
            checked[name] = as_flag(name, getattr(self, name))
        as_function("optim", self.optim, "an optimiser's class, such as torch.optim.Adam")
        for change in as_list("grad_tfms", self.grad_tfms, "functions from a gradient to a gradient"):
            as_function("grad_tfms", change, "functions from a gradient to a gradient")
        for name in ("batch", "tile"):
            if getattr(self, name) is not None:
                checked[name] = as_count(name, getattr(self, name))
        if self.stages is not None:
            checked["stages"] = tuple(plan_stages(self.stages))
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.img_param is not None and not isinstance(self.img_param, Param):
            raise TypeError(f"img_param is a parameterisation such as ImageParam(224), not {shown(self.img_param)}")
        if not isinstance(self.precision, str) or self.precision not in (*PRECISIONS, "auto"):
            raise ValueError(f"precision {shown(self.precision)}: choose 'auto', 'fp32', 'bf16' or 'fp16'")
        if (
            self.until is not None
            and not callable(self.until)
            and not (isinstance(self.until, str) and self.until == "plateau")
        ):
            raise ValueError(
                f"until={shown(self.until)}: choose 'plateau', a function of a picture and its scores, or None"
            )
        if self.until is not None and self.thresh:
            raise ValueError("until lets each picture end at its own step, thresh sets the last step of all: give one")
        if self.until is not None and self.objective.coupled:
            raise ValueError(f"until lets pictures leave one by one, and {self.objective!r} scores them by each other")
        if self.tile is not None and self.objective.placed:
            raise ValueError(
                f"{self.objective!r} depends on absolute position, which is lost in tiles: leave tile= out"
            )
        if self.objective.pictures is not None and self.img_param is not None:
            asked, found = self.objective.pictures, self.img_param.batch
            if asked != found:
                raise ValueError(
                    f"the objective makes {asked} pictures, the parameterisation has {found}: write batch={asked}"
                )
        size = self.size if self.img_param is None else self.img_param.size
        if size is not None and self.stages is not None and self.stages[-1].size != size:
            raise ValueError(
                f"the stages end at {self.stages[-1].size}, the parameterisation has {size}: let both be the same size"
            )

    def to_data(self, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
        """The settings as JSON data; tensors are added to ``tensors`` under the names that the data uses.

        Functions, which JSON cannot hold, are described by name and cannot be read back.
        """
        data = {f.name: to_data(getattr(self, f.name), tensors) for f in fields(self) if f.name not in _BY_NAME}
        stages = self.stages and [[list(stage.size), stage.steps] for stage in self.stages]
        return {**data, "stages": stages, "optim": _optimiser_name(self.optim)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], tensors: dict[str, torch.Tensor]) -> Settings:
        """The settings that ``to_data`` wrote.

        Raises:
            ValueError: data that it did not write, or a function, which a file cannot hold.
        """
        known = {f.name for f in fields(cls)}
        strange = sorted(data.keys() - known)
        if strange:
            raise ValueError(f"settings hold {strange[0]!r}, which this version of optvis does not know")
        missing = sorted({"objective", "transforms"} - data.keys())
        if missing:
            raise ValueError(f"settings hold no {missing[0]!r}")
        given = {name: from_data(value, tensors) for name, value in data.items() if name not in _BY_NAME}
        stages = data.get("stages")
        if stages is not None:
            stages = tuple(plan_stages(stages))
        return cls(**{**given, "stages": stages, "optim": _optimiser_of(data.get("optim", "adam"))})

    def take(self, pictures: Sequence[int]) -> Settings:
        """The settings of only some of the pictures."""
        param = None if self.img_param is None else self.img_param.take(list(pictures))
        return replace(self, objective=self.objective.take(pictures), img_param=param)

    def of_network(self) -> dict[str, Any]:
        """The arguments of ``OptVis``."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name in _OF_NETWORK}

    def of_run(self) -> dict[str, Any]:
        """The arguments of ``OptVis.vis``."""
        run = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in (*_OF_NETWORK, "size")}
        return {**run, "img_param": self.size if self.img_param is None else self.img_param}

    @property
    def leave(self) -> Until | None:
        """The function that lets a picture leave a stage early; ``None`` for never."""
        return plateau if self.until == "plateau" else self.until

    @property
    def count(self) -> int:
        """Number of pictures."""
        return self.objective.pictures or (self.img_param.batch if self.img_param is not None else 1)

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
        if self.stages:
            size: Size = self.stages[-1].size
            return size
        return self.size or given.default_size


def as_transforms(transforms: Any) -> Compose:
    """Transforms from a callable, a list of them, or ``None`` for the default."""
    if transforms is None:
        return standard()
    return Compose(list(transforms) if isinstance(transforms, (list, tuple)) else [transforms])


_BY_NAME = ("optim", "stages")
_OF_NETWORK = ("objective", "transforms", "optim", "grad_tfms", "mean", "std", "extra_inputs", "channel_axis",
               "channel_noise", "relu_softness")  # fmt: skip


def _optimiser_name(optim: Callable[..., torch.optim.Optimizer]) -> Any:
    if optim is adam:
        return "adam"
    name = getattr(optim, "__name__", "")
    return name if getattr(torch.optim, name or "-", None) is optim else {"callable": repr(optim)}


def _optimiser_of(name: Any) -> Callable[..., torch.optim.Optimizer]:
    if name == "adam":
        return adam
    found = getattr(torch.optim, name, None) if isinstance(name, str) else None
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
        raise ValueError(f"drawn with an optimiser that a file cannot hold: {name!r}")
    return found
