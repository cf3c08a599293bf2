"""A plan and the network that is made ready for it: the turns of its pictures, and the results that they become."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .checks import Size
from .network import isolated
from .objectives import Objective
from .objectives.algebra import IMAGE
from .params import Param
from .plan import Plan
from .prepared import Prepared, Ready
from .rng import Rng
from .scheduler import CHECK, Group, Turn, joined, silent_pictures
from .tiles import in_tiles
from .transforms import Compose
from .visualisation import Visualisation

UNSEEN = 2**33
"""Seed of the transforms that no step draws."""


@dataclass(frozen=True, eq=False)
class Run:
    """A plan, and the network that is ready for it.

    Attributes:
        plan: what is done.
        prepared: the network, and what is known of its layers.
        ready: its working copy.
    """

    plan: Plan
    prepared: Prepared
    ready: Ready

    def turn(self, size: Size, groups: Sequence[Group]) -> Turn:
        """What a step of these pictures needs; their objective is bound to the layer shapes at their size."""
        settings = self.plan.settings
        probed = self.prepared.probed(self.plan.shown_size(size))
        pictures = [picture for group in groups for picture in group.pictures]
        objective = settings.objective.bound(probed.layers, self.plan.shapes)
        if pictures != list(range(settings.count)):
            objective = objective.take(pictures)
        return Turn(size, groups, objective, probed, Rng.join([group.rng for group in groups]))

    def exact_scores(self, turn: Turn, rng: Rng | None = None) -> Tensor:
        """``[N]`` scores of the pictures of a turn, without channel noise and with exact gradients.

        Args:
            turn: the pictures.
            rng: random numbers for the transforms; without them none are applied.
        """
        transforms = Compose() if rng is None else self.plan.transforms

        def score(images: Tensor, rng: Rng) -> Tensor:
            shown = transforms(images, rng, self.plan.network_size)
            return turn.objective({IMAGE: images, **self.ready.forward.activations(shown, turn.probed.layers)})

        tile = self.plan.settings.tile
        scored = score if tile is None else in_tiles(score, tile, shift=False)
        return scored(turn.images(), turn.rng if rng is None else rng)

    def record(self, turn: Turn) -> None:
        """Note the scores of a step, and every few steps those under transforms that no step draws."""
        turn.record(self.plan.settings.thresh or ())
        if self.plan.settings.leave is None or not any(group.age % CHECK == 0 for group in turn.groups):
            return
        with isolated(self.prepared.given.device), torch.no_grad():
            rng = Rng([UNSEEN] * len(turn.scores), self.prepared.given.device)
            scores = (self.exact_scores(turn, rng) + self.exact_scores(turn, rng)) / 2
        for group, unseen in zip(turn.groups, scores.split([len(group) for group in turn.groups])):
            if group.age % CHECK == 0:
                group.unseen.append(unseen)

    def state(self, turn: Turn) -> Visualisation:
        """The pictures that took a step, with their scores in it."""
        pictures, param, history, frames = joined(turn.groups)
        return Visualisation(param, turn.scores, history, frames, self._about(pictures, len(history)))

    def result(self, groups: Sequence[Group], slots: int, interrupted: bool = False) -> Visualisation:
        """The pictures of some groups, with their exact scores; warns of those that never responded.

        Raises:
            KeyboardInterrupt: there are none, since the run was ended before its first step.
            RuntimeError: a score is not finite.
        """
        if not groups:
            raise KeyboardInterrupt
        with isolated(self.prepared.given.device):
            pictures, param, history, frames = joined(groups)
            scores, silent = self._final_scores(pictures, param, slots)
        _warn_of_silent(self.plan.settings.objective, silent)
        if self.plan.settings.compile and self.prepared.compiler.failure:
            warnings.warn(f"compile=True: {self.prepared.compiler.failure}: the step ran as it is", stacklevel=3)
        param.holds_picture = True
        tensors: dict[str, Tensor] = {}
        about = {
            **self._about(pictures, len(history)),
            "interrupted": interrupted,
            "fingerprint": self.prepared.fingerprint,
            "plan": self.plan.to_data(self.prepared.given, self.ready.forward.dtype, tensors),
        }
        return Visualisation(param, scores, history, frames, about, tensors)

    def _final_scores(self, pictures: Sequence[int], param: Param, slots: int) -> tuple[Tensor, list[int]]:
        """``[N]`` scores without transforms, and the pictures whose exact gradient is zero."""
        scores, silent = [], []
        for some in torch.arange(len(pictures)).split(slots):
            part = param.take(some.tolist())
            own = [pictures[i] for i in some.tolist()]
            turn = self.turn(param.size, [Group(own, part, Rng([0] * len(own), self.prepared.given.device))])
            turn.forget_gradients()
            turn.scores = self.exact_scores(turn)
            turn.check_finite()
            (-turn.scores.sum()).backward()
            scores.append(turn.scores)
            silent += [own[i] for i in silent_pictures(part)]
        return torch.cat(scores).detach().float().cpu(), silent

    def _about(self, pictures: Sequence[int], steps: int) -> dict[str, Any]:
        plan = self.plan
        about = plan.describe(self.prepared, self.ready.forward.dtype)
        if len(pictures) < plan.settings.count:
            about["objective"] = repr(plan.settings.objective.take(pictures))
        about["steps"] = steps
        about["labels"] = plan.labels(pictures)
        about["pictures"] = list(pictures)
        about["compile_seconds"] = round(self.prepared.compiler.seconds, 1) if plan.settings.compile else None
        return about


def _warn_of_silent(objective: Objective, silent: Sequence[int]) -> None:
    if silent:
        names = ", ".join(repr(objective.take([i])) for i in silent[:8]) + (", …" if len(silent) > 8 else "")
        warnings.warn(
            f"{names}: never fired, so nothing could climb and the picture shows nothing. Try another seed=, more "
            "steps, the layer before its ReLU, or a photograph to begin with (img_param=ImageFile(path))",
            stacklevel=4,
        )
