"""The plan of a run: settings resolved for one network."""

from __future__ import annotations

import copy
import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from .checks import Size
from .network import LayerShape, NetworkInput, Probed
from .network.precision import PRECISIONS
from .objectives import Batch, Channel, Objective
from .objectives.algebra import IMAGE, Sum
from .params import ImageParam, Param, PixelParam
from .prepared import Prepared
from .settings import Settings, adam
from .stages import Stage, cut, default_stages, stretch
from .text import printable
from .transforms import Compose
from .versions import versions


@dataclass(frozen=True, eq=False)
class Plan:
    """Settings resolved for one network."""

    settings: Settings
    stages: tuple[Stage, ...]
    network_size: Size | None  # the only size that the network takes, or None if it takes the picture's
    shapes: Mapping[str, LayerShape]  # of the layers' outputs at the final size
    channel_noise: float
    slots: int  # number of pictures in the network at once

    @classmethod
    def of(cls, settings: Settings, prepared: Prepared) -> Plan:
        """Resolve settings for a network; raises ``ValueError`` if they do not work with it."""
        given, probe, param, coupled = prepared.given, prepared.probe, settings.img_param, settings.objective.coupled
        name = type(prepared.shadow).__name__
        if param is not None:
            settings = replace(settings, img_param=param.for_channels(given.channels))
        size = settings.final_size(given)
        network_size = probe.network_size(settings.seen_size(size)) if settings.layers else None
        if network_size is not None and given.size is None and param is None and not (settings.size or settings.stages):
            size, network_size = network_size, None  # nobody asked for another size than the network's own
            settings = replace(settings, size=size)
        probed = prepared.probed(network_size or settings.seen_size(size))
        settings.objective.bound(probed.layers, probed.layers)  # raises if the layer has no such channel or position
        settings = replace(settings, objective=settings.objective.counted(probed.layers), lr=settings.rate)
        stages = settings.stages or default_stages(
            size,
            keeps_size=network_size is not None or (param is not None and param.holds_picture),
            works_at=lambda size: not settings.layers or probe.works_at(settings.seen_size(size)),
        )
        for stage in settings.stages or ():
            if network_size is None and settings.layers:  # raises if a stage is too small
                network_size = probe.network_size(settings.seen_size(stage.size))
        if settings.thresh:
            stages = (cut if settings.stages else stretch)(stages, settings.thresh[-1])
        elif not settings.stages and param is not None and not param.holds_picture:
            stages = stretch(stages, max(param.least_steps, sum(stage.steps for stage in stages)))
        settings, noise = _within_reach(settings, probed), 0.0
        # The noise of all layers adds up to the same amount. Found empirically.
        default_noise = min(0.1, 0.6 / math.sqrt(max(len(probed.weighted), 1)))
        if settings.transform and settings.layers:
            noise = settings.channel_noise if settings.channel_noise is not None else default_noise
        slots = settings.count if coupled else settings.batch or (64 if given.device.type == "cuda" else 8)
        if min(slots, settings.count) > 1 and probe.alone:
            if coupled:
                raise ValueError(
                    f"{settings.objective!r} compares the pictures of a batch, and {name} takes one image at a time: "
                    "choose another objective"
                )
            slots = 1
        plan = cls(settings, stages, network_size, probed.layers, noise, slots)
        plan.check_optimiser()
        return plan

    @property
    def transforms(self) -> Compose:
        """The transforms that are applied; none if ``transform`` is False."""
        return self.settings.transforms if self.settings.transform else Compose()

    @property
    def relu_softness(self) -> float:
        """The softness of ReLU gradients; 0 if ``transform`` is False."""
        return self.settings.relu_softness if self.settings.transform else 0.0

    def optimiser(self, param: Param) -> torch.optim.Optimizer:
        """A new optimiser for a parameterisation; raises ``ValueError`` if ``wd`` is given but has no effect."""
        settings = self.settings
        options = {"lr": settings.rate * param.lr_scale, "weight_decay": settings.wd}
        if "weight_decay" not in inspect.signature(settings.optim).parameters:  # LBFGS
            if settings.wd:
                raise ValueError(f"wd={settings.wd}: {_name(settings.optim)} has no weight decay")
            del options["weight_decay"]
        return settings.optim(param.parameters(), **options)

    def check_optimiser(self) -> None:
        """Raise ``ValueError`` if the optimiser cannot take a step of the parameterisation."""
        if self.settings.optim is adam:
            return
        param = self.settings.img_param
        param = PixelParam(2) if param is None else copy.deepcopy(param.take([0]))
        for parameter in param.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimiser = self.optimiser(param)
        try:
            optimiser.step(lambda: torch.zeros(()))  # type: ignore[arg-type, return-value]
        except Exception as error:  # any type: it may be of the user's own making
            raise ValueError(f"optim {_name(self.settings.optim)} cannot take a step: {error}") from error

    def shown_size(self, size: Size) -> Size:
        """The size at which the network gets a picture of ``size``."""
        return self.network_size or self.settings.seen_size(size)

    def to_data(self, given: NetworkInput, dtype: torch.dtype, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Everything that decides the pictures, as JSON data: the settings with resolved values in place of defaults.

        ``dtype`` is that in which the network computes; ``tensors`` is as for ``Settings.to_data``.
        """
        resolved = replace(
            self.settings,
            stages=self.settings.stages or self.stages,  # thresh cuts those that were given
            channel_noise=self.channel_noise,
            precision={kind: name for name, kind in PRECISIONS.items()}.get(dtype, "auto"),
            batch=self.slots,
            mean=given.mean,
            std=given.std,
        )
        return resolved.to_data(tensors)

    def describe(self, prepared: Prepared, dtype: torch.dtype, pictures: Sequence[int], steps: int) -> dict[str, Any]:
        """A readable description of everything that made some pictures in a number of steps, as JSON data."""
        settings, given, kind = self.settings, prepared.given, type(prepared.shadow).__name__
        several = settings.objective.pictures is not None
        noise = _noise_text(settings.final_size(given), given.channels).replace("batch=1", f"batch={settings.count}")
        return {
            "network": kind,
            "kind": kind,
            "objective": repr(settings.objective.take(pictures)),
            "param": repr(settings.img_param) if settings.img_param else noise,
            "stages": [[list(stage.size), stage.steps] for stage in self.stages],
            "thresh": list(settings.thresh or ()),
            "transforms": repr(settings.transforms) if settings.transform else None,
            "channel_noise": self.channel_noise,
            "relu_softness": self.relu_softness,
            "precision": str(dtype).removeprefix("torch."),
            "optim": _name(settings.optim),
            "lr": settings.lr,
            "wd": settings.wd,
            "seed": list(settings.seed) if isinstance(settings.seed, tuple) else settings.seed,
            "mean": list(given.mean),
            "std": list(given.std),
            "normalisation": given.normalisation.source,
            "network_size": list(self.network_size) if self.network_size else None,
            "batch": self.slots,
            "not_reached": list(prepared.probed(self.shown_size(self.stages[-1].size)).scripted),
            "until": settings.until if isinstance(settings.until, str | None) else repr(settings.until),
            "tile": settings.tile,
            "device": str(given.device),
            "versions": versions(),
            "steps": steps,
            "labels": [_label(settings.objective.take([one]), self.shapes) for one in pictures if several],
            "pictures": list(pictures),
            "compile_seconds": round(prepared.compiler.seconds, 1) if settings.compile else None,
        }


def _name(optim: Any) -> str:
    return getattr(optim, "__name__", None) or repr(optim)


@lru_cache(maxsize=64)
def _noise_text(size: Size, channels: int) -> str:
    return repr(ImageParam(size, channels=channels))


def _label(objective: Objective, shapes: Mapping[str, LayerShape]) -> str:
    """The name of the picture's channel, whatever the penalties on the image, or else its objective."""
    if isinstance(objective, Batch):
        return printable(repr(objective.objectives[0]))
    if isinstance(objective, Sum):
        terms = [(weight, term) for weight, term in objective.terms if term.layers != (IMAGE,)]
        if len(terms) == 1 and terms[0][0] > 0:
            objective = terms[0][1]
    if isinstance(objective, Channel):
        layer, channel = objective.layers[0], objective.channel
        channel = channel[0] if isinstance(channel, tuple) else channel
        names = shapes[layer].names
        if names and not isinstance(channel, str):
            channel = names[channel]
        return printable(channel if isinstance(channel, str) else f"{layer}:{channel}".lstrip(":"))
    return printable(repr(objective))


def _within_reach(settings: Settings, probed: Probed) -> Settings:
    """The settings without what cannot be done with this network; warns of it."""
    if not settings.transform:
        return settings
    if settings.compile and not settings.transforms.traceable:
        warnings.warn("compile=True: only transforms of optvis can be compiled: the step runs uncompiled", stacklevel=5)
        settings = replace(settings, compile=False)
    if probed.checkpointed:
        warnings.warn(
            "the network computes activations again in the backward pass (torch.utils.checkpoint), out of reach of "
            "channel noise and soft ReLU gradients: both are off",
            stacklevel=5,
        )
        return replace(settings, channel_noise=0.0, relu_softness=0.0)
    if probed.scripted and (settings.channel_noise != 0 or settings.relu_softness):
        parts = ", ".join(repr(part) if part else "the network" for part in probed.scripted)
        warnings.warn(
            f"TorchScript compiled {parts}: channel noise and soft ReLU gradients do not reach into it", stacklevel=5
        )
    return settings
