"""What decides a picture, as data: the settings that were chosen, and the plan that they become for a network."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .checks import Size, as_count, as_number, as_whole
from .network import Extra, LayerShape, NetworkInput
from .network.precision import PRECISIONS
from .objectives import Batch, Channel, Objective
from .objectives.algebra import IMAGE
from .params import ImageParam, Param
from .prepared import Prepared
from .scheduler import Until, plateau
from .stages import Stage, cut, default_stages, plan_stages, plan_thresh, stretch
from .text import printable
from .tiles import tile_size
from .transforms import Compose, standard
from .versions import versions


def adam(parameters: Iterable[torch.Tensor], lr: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Adam with a short memory, betas of 0.5 and 0.99.

    The image is seen under other transforms at each step and changes fast, so that gradients of ten steps ago mislead.
    Of pictures made in few steps, other networks name more than with torch's own betas of 0.9 and 0.999.
    """
    return torch.optim.Adam(parameters, lr=lr, betas=(0.5, 0.99), weight_decay=weight_decay)


SOFTNESS = 0.8
"""How soft the edges of ReLUs are to gradients where it is not given; found by trying."""


@dataclass(frozen=True, eq=False)
class Settings:
    """Every choice that decides a picture.

    Attributes are those of ``OptVis`` and ``OptVis.vis`` under the same names, checked when the settings are made.

    Raises:
        ValueError: a value that cannot work; the message names it and what would do.
        TypeError: a value of another type.
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
        checked: dict[str, Any] = {
            "relu_softness": as_number("relu_softness", self.relu_softness, 0),
            "lr": as_number("lr", self.lr, 0),
            "wd": as_number("wd", self.wd, 0),
            "seed": as_whole("seed", self.seed, 0, 2**62),
        }
        if self.thresh is not None:
            checked["thresh"] = plan_thresh(self.thresh)
        if self.channel_noise is not None:
            checked["channel_noise"] = as_number("channel_noise", self.channel_noise, 0, 1, ends="[)")
        for name in ("batch", "tile"):
            if getattr(self, name) is not None:
                checked[name] = as_count(name, getattr(self, name))
        if self.stages is not None:
            checked["stages"] = tuple(plan_stages(self.stages))
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.img_param is not None and not isinstance(self.img_param, Param):
            raise TypeError(f"img_param is a parameterisation such as ImageParam(224), not {self.img_param!r}")
        if self.precision not in (*PRECISIONS, "auto"):
            raise ValueError(f"precision {self.precision!r}: choose 'auto', 'fp32', 'bf16' or 'fp16'")
        if self.until is not None and not callable(self.until) and self.until != "plateau":
            raise ValueError(f"until={self.until!r}: choose 'plateau', a function of a picture and its scores, or None")
        if self.until is not None and self.thresh:
            raise ValueError("until lets pictures leave at steps of their own, thresh says at which all do: give one")
        if self.tile is not None and self.objective.placed:
            raise ValueError(
                f"{self.objective!r} depends on absolute position, of which a tile knows nothing: leave tile= out"
            )
        if self.objective.pictures is not None and self.img_param is not None:
            asked, found = self.objective.pictures, self.img_param.batch
            if asked != found:
                raise ValueError(
                    f"the objective makes {asked} pictures, the parameterisation has {found}: write batch={asked}"
                )
        if self.img_param is not None and self.stages is not None and self.stages[-1].size != self.img_param.size:
            raise ValueError(
                f"the stages end at {self.stages[-1].size}, the parameterisation has {self.img_param.size}: let both "
                "be the same size"
            )

    @property
    def leave(self) -> Until | None:
        """What lets a picture leave a stage early."""
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
        """How large a picture of ``size`` is when the network sees it: as large as a tile, where there are tiles."""
        return tile_size(size, self.tile) if self.tile is not None else size

    def final_size(self, given: NetworkInput) -> Size:
        """(height, width) of the finished picture in pixels."""
        if self.img_param is not None:
            return self.img_param.size
        return self.stages[-1].size if self.stages else given.default_size


@dataclass(frozen=True, eq=False)
class Plan:
    """Settings, and what they become for one network.

    Attributes:
        settings: what was chosen.
        stages: sizes and steps, from coarse to fine.
        network_size: the one size that the network takes, or ``None`` where it takes the picture's.
        shapes: what the layers put out at the final size.
        channel_noise: by how much the network's channels are scaled at random.
        slots: pictures in the network at once.
    """

    settings: Settings
    stages: tuple[Stage, ...]
    network_size: Size | None
    shapes: Mapping[str, LayerShape]
    channel_noise: float
    slots: int

    @classmethod
    def of(cls, settings: Settings, prepared: Prepared) -> Plan:
        """Resolve settings for a network.

        Raises:
            ValueError: something that this network cannot do; the message says what it can.
        """
        given, size = prepared.given, settings.final_size(prepared.given)
        if settings.img_param is not None and settings.img_param.channels != given.channels:
            raise ValueError(
                f"the parameterisation has {settings.img_param.channels} channels, {type(prepared.shadow).__name__} "
                f"takes {given.channels}: write channels={given.channels}"
            )
        seen = settings.seen_size(size)
        network_size = prepared.probe.network_size(seen) if settings.layers else None
        probed = prepared.probe.at(network_size or seen) if settings.layers else None
        shapes = probed.layers if probed is not None else {}
        settings.objective.bound(shapes, shapes)  # raises on a channel or position that the layer does not have
        stages = settings.stages or default_stages(
            size,
            keeps_size=network_size is not None
            or (settings.img_param is not None and settings.img_param.holds_picture),
            works_at=lambda size: not settings.layers or prepared.probe.works_at(settings.seen_size(size)),
        )
        for stage in settings.stages or ():
            if network_size is None and settings.layers:  # raises where a stage is too small
                network_size = prepared.probe.network_size(settings.seen_size(stage.size))
        if settings.thresh:
            stages = (cut if settings.stages else stretch)(stages, settings.thresh[-1])
        noise = 0.0
        if settings.transform and probed is not None and not probed.checkpointed:
            noise = settings.channel_noise if settings.channel_noise is not None else _noise_for(len(probed.weighted))
        slots = settings.batch or (64 if given.device.type == "cuda" else 8)
        if settings.objective.coupled:
            slots = settings.count
        if probed is not None and probed.alone:
            slots = 1
        return cls(settings, tuple(stages), network_size, shapes, noise, slots)

    @property
    def transforms(self) -> Compose:
        """Those that are applied."""
        return self.settings.transforms if self.settings.transform else Compose()

    @property
    def relu_softness(self) -> float:
        """How soft the edges of ReLUs are to gradients."""
        return self.settings.relu_softness if self.settings.transform else 0.0

    def optimiser(self, param: Param) -> torch.optim.Optimizer:
        """One for a parameterisation.

        Raises:
            ValueError: weight decay is asked for, which the optimiser does not have.
        """
        settings = self.settings
        options = {"lr": settings.lr * param.lr_scale, "weight_decay": settings.wd}
        if "weight_decay" not in inspect.signature(settings.optim).parameters:  # LBFGS
            if settings.wd:
                name = getattr(settings.optim, "__name__", settings.optim)
                raise ValueError(f"wd={settings.wd}: {name} knows no weight decay")
            del options["weight_decay"]
        return settings.optim(param.parameters(), **options)

    def labels(self, pictures: Sequence[int]) -> list[str]:
        """What each picture shows, where the objective makes several: the name of its channel, or the objective."""
        objective = self.settings.objective
        if objective.pictures is None:
            return []
        return [_label(objective.take([picture]), self.shapes) for picture in pictures]

    @property
    def steps(self) -> int:
        """Steps of one picture, over all stages."""
        return sum(stage.steps for stage in self.stages)

    def shown_size(self, size: Size) -> Size:
        """The size at which the network sees a picture of ``size``."""
        return self.network_size or self.settings.seen_size(size)

    def seeds(self) -> list[int]:
        """A seed for each picture: pictures with different objectives have the same one, as if drawn alone."""
        return [self.settings.seed + twin for twin in self.settings.objective.twins(self.settings.count)]

    def start(self, pictures: Sequence[int], seeds: Sequence[int], given: NetworkInput) -> Param:
        """The parameterisation with which some pictures begin; a copy where one was given."""
        if self.settings.img_param is not None:
            return copy.deepcopy(self.settings.img_param.take(list(pictures)))
        own = [seeds[picture] for picture in pictures]
        return ImageParam(self.settings.final_size(given), len(own), channels=given.channels, seed=own)

    def describe(self, prepared: Prepared, dtype: torch.dtype) -> dict[str, Any]:
        """The plan for people: everything that made a picture, as JSON can hold it."""
        settings, given = self.settings, prepared.given
        param = settings.img_param
        if param is None:
            param = ImageParam(settings.final_size(given), settings.count, channels=given.channels)
        return {
            "network": type(prepared.shadow).__name__,
            "objective": repr(settings.objective),
            "param": repr(param),
            "stages": [[list(stage.size), stage.steps] for stage in self.stages],
            "thresh": list(settings.thresh or ()),
            "transforms": repr(settings.transforms) if settings.transform else None,
            "channel_noise": self.channel_noise,
            "relu_softness": self.relu_softness,
            "precision": str(dtype).removeprefix("torch."),
            "optim": getattr(settings.optim, "__name__", repr(settings.optim)),
            "lr": settings.lr,
            "wd": settings.wd,
            "seed": settings.seed,
            "mean": list(given.mean),
            "std": list(given.std),
            "network_size": list(self.network_size) if self.network_size else None,
            "batch": self.slots,
            "until": settings.until if isinstance(settings.until, str | None) else repr(settings.until),
            "tile": settings.tile,
            "device": str(given.device),
            "versions": versions(),
        }


def as_transforms(transforms: Any) -> Compose:
    """Transforms from a callable, a list of them, or ``None`` for the default."""
    if transforms is None:
        return standard()
    return Compose(list(transforms) if isinstance(transforms, (list, tuple)) else [transforms])


def _label(objective: Objective, shapes: Mapping[str, LayerShape]) -> str:
    if isinstance(objective, Batch):
        return printable(repr(objective.objectives[0]))
    if not isinstance(objective, Channel):
        return printable(repr(objective))
    layer, channel = objective.layers[0], objective.channel
    channel = channel[0] if isinstance(channel, tuple) else channel
    names = shapes[layer].names
    return printable(
        channel if isinstance(channel, str) else names[channel] if names else f"{layer}:{channel}".lstrip(":")
    )


def _noise_for(depth: int) -> float:
    """As much in all at any depth: the noise of the layers on the way adds up. Found by trying."""
    return min(0.1, 0.6 / math.sqrt(max(depth, 1)))
