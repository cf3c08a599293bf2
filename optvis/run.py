"""A run: a plan with a prepared network, the steps of its pictures, and its results."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .checks import Size
from .images import fit, with_channels
from .network import Probed, isolated
from .network.channel_noise import random_noise
from .objectives import Objective
from .objectives.algebra import IMAGE
from .objectives.matching import Match, matched
from .params import Param
from .plan import Plan
from .prepared import Prepared, Ready
from .rng import Echo, Rng
from .scheduler import CHECK, Group, Scheduler, Turn, joined, silent_pictures
from .settings import adam
from .tiles import in_tiles
from .transforms import Compose, resize
from .visualisation import Visualisation

ENOUGH = 32
"""The number of steps after which a picture should have contrast."""
FLAT, HARSH = 0.01, 0.46
"""Standard deviations of pixels below and above which a picture shows nothing. It is 0.5 in black and white."""
UNSEEN = 2**33
"""Seed of the transforms under which pictures are scored for ``until``; no step uses it."""


@dataclass(frozen=True, eq=False)
class Run:
    """A plan with a prepared network, its working copy and the scheduler of its pictures."""

    plan: Plan
    prepared: Prepared
    ready: Ready
    scheduler: Scheduler

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.prepared.given.device

    def turn(self, size: Size, groups: Sequence[Group]) -> Turn:
        """A turn of these pictures; their objective is bound to the layer shapes at their size."""
        settings = self.plan.settings
        probed = self.prepared.probed(self.plan.shown_size(size))
        pictures = [picture for group in groups for picture in group.pictures]
        objective = settings.objective.bound(probed.layers, self.plan.shapes)
        if pictures != list(range(settings.count)):
            objective = objective.take(pictures)
        objective = self._with_targets(objective, size, probed)
        return Turn(size, groups, objective, probed, Rng.join([group.rng for group in groups]))

    def _with_targets(self, objective: Objective, size: Size, probed: Probed) -> Objective:
        """An objective whose target images have the size of a stage.

        Those that are seen without transforms are replaced by their activations.
        """
        fitted: list[tuple[Tensor, Tensor]] = []

        def at_size(match: Match, _: slice) -> Objective:
            if match.same_transforms and not self.plan.transforms.traceable:
                raise ValueError(
                    f"{match!r} shows its image under the same transforms as the picture, for which only those of "
                    "optvis can be repeated: give Match(..., same_transforms=False)"
                )
            images = next((at for image, at in fitted if torch.equal(image, match.image)), None)
            if images is None:
                images = fit(with_channels(match.image, self.prepared.given.channels), size).to(self.device)
                fitted.append((match.image, images))
            match = match.shown(images)
            return match if match.same_transforms else match.against(self._seen(match, match.image, probed))

        return matched(objective, at_size)

    def _seen(self, match: Match, images: Tensor, probed: Probed) -> dict[str, Tensor]:
        """The activations of a target under images that a transform made of it, without gradients."""
        layers = {layer: probed.layers[layer] for layer in match.layers if layer != IMAGE}
        shown = self.plan.network_size
        images = images if shown is None or tuple(images.shape[-2:]) == shown else resize(images, shown)
        with torch.no_grad():
            return {IMAGE: match.image, **self.ready.forward.activations(images, layers)}

    def beside(self, turn: Turn, transforms: Compose, rng: Echo, noise: float = 0.0) -> Objective:
        """The objective, with the activations of target images under the transforms and noise that ``rng`` drew."""
        found: dict[Any, dict[str, Tensor]] = {}

        def seen(match: Match, pictures: slice) -> Objective:
            key = id(match.image), match.layers, pictures.start  # terms of a sum may share their target
            if key not in found:
                found[key] = look(match, pictures)
            return match.against(found[key])

        def look(match: Match, pictures: slice) -> dict[str, Tensor]:
            again = rng.again(pictures)
            gain = random_noise(noise, turn.probed.weighted, again, self.ready.forward.dtype)
            images = transforms(match.image.expand(again.count, -1, -1, -1), again, self.plan.network_size)
            with self.ready.first_conv | gain:
                return self._seen(match, images, turn.probed)

        return matched(turn.objective, seen)

    def exact_scores(self, turn: Turn, rng: Rng | None = None) -> Tensor:
        """``[N]`` scores without channel noise and with exact gradients; without ``rng`` also without transforms."""
        transforms = Compose() if rng is None else self.plan.transforms

        def score(images: Tensor, rng: Rng) -> Tensor:
            rng = Echo(rng)
            shown = transforms(images, rng, self.plan.network_size)
            activations = self.ready.forward.activations(shown, turn.probed.layers)
            return self.beside(turn, transforms, rng)({IMAGE: images, **activations})

        tile = self.plan.settings.tile
        scored = score if tile is None else in_tiles(score, tile, shift=False)
        return scored(turn.images(), turn.rng if rng is None else rng)

    def record(self, turn: Turn) -> None:
        """Record the scores of a step and, every few steps, the scores under transforms that no step uses."""
        turn.record(self.plan.settings.thresh or ())
        if self.plan.settings.leave is None or not any(group.age % CHECK == 0 for group in turn.groups):
            return
        with isolated(self.device), torch.no_grad():
            rng = Rng([UNSEEN] * len(turn.scores), self.device)
            scores = (self.exact_scores(turn, rng) + self.exact_scores(turn, rng)) / 2
        for group, unseen in turn.by_group(scores):
            if group.age % CHECK == 0:
                group.unseen.append(unseen)

    def state(self, turn: Turn) -> Visualisation:
        """The pictures that took a step, with their scores in that step."""
        pictures, param, history, frames = joined(turn.groups)
        return Visualisation(param, turn.scores, history, frames, self._about(pictures, len(history)))

    def result(self, groups: Sequence[Group], interrupted: bool = False) -> Visualisation:
        """The pictures of some groups, with their exact scores; warns of pictures whose gradient stayed zero."""
        if not groups:  # interrupted before the first step
            raise KeyboardInterrupt
        with isolated(self.device):
            pictures, param, history, frames = joined(groups)
            scores, silent = self._final_scores(pictures, param)
        if silent:
            names = ", ".join(repr(self.plan.settings.objective.take([i])) for i in silent[:8])
            warnings.warn(
                f"{names}{', …' if len(silent) > 8 else ''}: never fired, so the gradient was zero and the picture "
                "shows nothing. Try another seed=, more steps, the layer before its ReLU, or a photograph as the start "
                "(img_param=ImageFile(path))",
                stacklevel=3,
            )
        if not interrupted:
            self._warn_of_contrast(param, len(history))
        if self.plan.settings.compile and self.prepared.compiler.failure:
            warnings.warn(f"compile=True: {self.prepared.compiler.failure}: the step ran uncompiled", stacklevel=3)
        param.holds_picture = True
        tensors: dict[str, Tensor] = {}
        about = {
            **self._about(pictures, len(history)),
            "interrupted": interrupted,
            "fingerprint": self.prepared.fingerprint,
            "plan": self.plan.to_data(self.prepared.given, self.ready.forward.dtype, tensors),
        }
        return Visualisation(param, scores, history, frames, about, tensors)

    def _final_scores(self, pictures: Sequence[int], param: Param) -> tuple[Tensor, list[int]]:
        """``[N]`` scores without transforms, and the pictures whose exact gradient is zero."""
        scores, silent = [], []
        for some in torch.arange(len(pictures)).split(self.scheduler.slots):
            own, part = [pictures[i] for i in some], param.take(some.tolist())
            group = Group(own, part, Rng([0] * len(own), self.device), self.plan.optimiser)
            turn = self.turn(param.size, [group])
            turn.forget_gradients()
            turn.scores = self.exact_scores(turn)
            turn.check_finite()
            torch.autograd.backward(-turn.scores.sum())
            scores.append(turn.scores)
            silent += [own[i] for i in silent_pictures(part)]
        return torch.cat(scores).detach().float().cpu(), silent

    def _warn_of_contrast(self, param: Param, steps: int) -> None:
        """Warn if an optimiser or a parameterisation left pictures almost flat, or drove them to black and white."""
        settings = self.plan.settings
        start = settings.img_param
        few = steps < param.least_steps
        if steps < ENOUGH or (settings.optim is adam and not few) or (start is not None and start.holds_picture):
            return
        with isolated(self.device), torch.no_grad():
            contrast = param().float().clamp(0, 1).std((2, 3)).mean(1)
        flat, harsh = int((contrast < FLAT).sum()), int((contrast > HARSH).sum())
        if not flat and not harsh:
            return
        look = (
            f"{flat} of {len(contrast)} pictures are almost flat"
            if flat
            else (f"{harsh} of {len(contrast)} pictures are almost only black and white")
        )
        name = getattr(settings.optim, "__name__", repr(settings.optim))
        advice = f"give at least {param.least_steps} steps" if few else "give another lr=, or leave optim= out"
        warnings.warn(f"{look} after {steps} steps of {name} with lr={settings.lr:g}: {advice}", stacklevel=4)

    def _about(self, pictures: Sequence[int], steps: int) -> dict[str, Any]:
        return self.plan.describe(self.prepared, self.ready.forward.dtype, pictures, steps)
