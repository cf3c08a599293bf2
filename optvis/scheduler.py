"""Continuous batching: many pictures share a few slots in the network; a finished picture frees its slot."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .checks import Size, shown
from .network import Probed
from .objectives import Objective
from .params import Param
from .rng import Rng
from .stages import Stage

CHECK = 4
"""The number of steps between checks whether a picture may leave its stage."""
PATIENCE = 16
"""The number of steps without improvement that make a plateau."""
OPEN_STEPS = 16
"""Every 16th step uses the exact ReLU gradient to find pictures whose gradient is zero. Until such a picture responds,
the other steps let gradients through inactive ReLUs, as Lucid does in its first 16 steps."""

Until = Callable[[int, Sequence[float]], bool]
"""From a picture's number and its scores so far, under transforms that no step uses, to True if it may leave."""


def plateau(_picture: int, scores: Sequence[float]) -> bool:
    """True if the last ``PATIENCE`` steps improved the score by less than 2 %."""
    last = PATIENCE // CHECK
    if len(scores) <= last:
        return False
    before = max(scores[:-last])
    return max(scores[-last:]) - before <= 0.02 * abs(before)


@dataclass(eq=False)
class Group:
    """Pictures that entered a stage together: their numbers, parameterisation, random numbers and records."""

    pictures: Sequence[int]
    param: Param
    rng: Rng
    optimise: Callable[[Param], torch.optim.Optimizer]
    optimiser: torch.optim.Optimizer | None = field(default=None, init=False)  # of this stage; None while they wait
    age: int = field(default=0, init=False)  # number of steps in this stage
    history: list[Tensor] = field(default_factory=list, init=False)  # [k] scores of each step, over all stages
    frames: dict[int, Tensor] = field(default_factory=dict, init=False)  # {step: [k, C, H, W]}
    unseen: list[Tensor] = field(default_factory=list, init=False)  # [k] scores of ``Run.record`` in this stage
    silent: bool = field(default=True, init=False)  # while the gradient of some picture may be zero

    def __len__(self) -> int:
        return len(self.pictures)

    def enter(self, size: Size) -> None:
        """Begin a stage."""
        if self.param.size != size:
            self.param = self.param.grow(size)
        self.optimiser, self.age, self.unseen = self.optimise(self.param), 0, []

    def leaving(self, stage: Stage, until: Until | None) -> list[int]:
        """Positions within the group of the pictures that have finished a stage."""
        if self.age >= stage.steps:
            return list(range(len(self)))
        if until is None or not self.unseen:
            return []
        scores = torch.stack(self.unseen, 1).tolist()
        return [i for i, picture in enumerate(self.pictures) if until(picture, scores[i])]

    def take(self, which: Sequence[int]) -> Group:
        """Some of the pictures, by their positions within the group."""
        if len(which) == len(self):
            return self
        which = list(which)
        taken = Group([self.pictures[i] for i in which], self.param.take(which), self.rng.take(which), self.optimise)
        taken.age, taken.silent = self.age, self.silent
        taken.history = [scores[which] for scores in self.history]
        taken.frames = {step: images[which] for step, images in self.frames.items()}
        taken.unseen = [scores[which] for scores in self.unseen]
        if self.optimiser is not None:
            taken.optimiser = self.optimise(taken.param)
            for a, b in zip(self.param.parameters(), taken.param.parameters(), strict=True):
                state = self.optimiser.state.get(a, {})
                if all(isinstance(value, (Tensor, int, float)) for value in state.values()):  # others are dropped
                    taken.optimiser.state[b] = {
                        key: value[which] if isinstance(value, Tensor) and value.shape == a.shape else copy.copy(value)
                        for key, value in state.items()
                    }
        return taken


@dataclass(eq=False)
class Turn:
    """The pictures in the slots, which take steps together, with their objective bound to the layers at their size."""

    size: Size
    groups: Sequence[Group]
    objective: Objective
    probed: Probed
    rng: Rng
    scores: Tensor = field(default_factory=lambda: torch.empty(0))  # [N], of the last step

    @property
    def parameters(self) -> list[Tensor]:
        """All parameters to optimise."""
        return [parameter for group in self.groups for parameter in group.param.parameters()]

    @property
    def opens_relus(self) -> bool:
        """True if gradients pass inactive ReLUs in this step."""
        return not self.probed.checkpointed and any(group.silent and group.age % OPEN_STEPS for group in self.groups)

    def images(self) -> Tensor:
        """``[N, C, H, W]`` in [0, 1]."""
        images = [group.param() for group in self.groups]
        return images[0] if len(images) == 1 else torch.cat(images)

    def step(self, uphill: Callable[[], Tensor]) -> None:
        """Take a step with each group's optimiser; ``uphill`` computes all gradients and returns the loss."""
        first, *others = [group.optimiser for group in self.groups if group.optimiser is not None]
        first.step(uphill)  # type: ignore[arg-type]
        for optimiser in others:
            again = inspect.signature(optimiser.step).parameters["closure"].default is inspect.Parameter.empty
            optimiser.step(uphill) if again else optimiser.step()  # type: ignore[arg-type]

    def forget_gradients(self) -> None:
        """Set all gradients to ``None``."""
        for parameter in self.parameters:
            parameter.grad = None

    def change_gradients(self, changes: Sequence[Callable[..., Any]]) -> None:
        """Apply functions to the gradient of each parameter, one after another."""
        for parameter in self.parameters if changes else ():
            for change in changes:
                changed = change(parameter.grad)
                if not isinstance(changed, Tensor) or changed.shape != parameter.shape:
                    got = list(changed.shape) if isinstance(changed, Tensor) else shown(changed)
                    raise TypeError(
                        f"the gradient transform {change!r} gave {got}: it must give a gradient of the shape that it "
                        f"was given, {list(parameter.shape)}"
                    )
                parameter.grad = changed

    def by_group(self, scores: Tensor) -> Iterator[tuple[Group, Tensor]]:
        """Each group with its part of ``[N]`` scores."""
        return zip(self.groups, scores.split([len(group) for group in self.groups]), strict=True)

    def record(self, thresh: Sequence[int]) -> None:
        """Record the scores of a step, and keep frames at the steps of ``thresh``."""
        self.scores = self.scores.detach()
        if self.scores.device.type == "cpu" or any(group.age % CHECK == 0 for group in self.groups):
            self.check_finite()  # waits for a GPU, and so is not done in every step
        plain = not self.opens_relus
        for group, scores in self.by_group(self.scores):
            group.history.append(scores)
            group.age += 1
            if group.silent and plain:
                group.silent = bool(silent_pictures(group.param))
            if len(group.history) in thresh:
                group.frames[len(group.history)] = group.param().detach().cpu()

    def check_finite(self) -> None:
        """Raise ``RuntimeError`` if a score is NaN or infinite."""
        if not torch.isfinite(self.scores).all():
            raise RuntimeError(
                f"the scores of {self.objective!r} are {self.scores.tolist()[:4]} after {len(self.groups[0].history)} "
                "steps: a transform, gradient transform or objective gave NaN or infinity, or lr is too high"
            )


def silent_pictures(param: Param) -> list[int]:
    """Positions of the pictures whose last gradient is zero everywhere."""
    gradients = [p.grad.flatten(1).abs().amax(1) for p in param.parameters() if p.grad is not None]
    if not gradients:
        return []
    return [i for i, top in enumerate(torch.stack(gradients).amax(0).tolist()) if top == 0]


@dataclass(eq=False)
class _Queue:
    """A stage with the pictures that are not yet made, the groups that wait for it, and those that are active in it."""

    stage: Stage
    unmade: range
    waiting: list[Group] = field(default_factory=list)
    active: list[Group] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.unmade) + sum(map(len, (*self.waiting, *self.active)))


class Scheduler:
    """Takes pictures through the stages, at most ``slots`` at once.

    A picture leaves a stage after the stage's steps, or as soon as ``until`` returns True, and the next one takes its
    slot. The last stage with a full batch goes first, so that pictures finish early. Pictures are created only when
    there is a slot for them, by ``begin``, so that memory does not grow with their number.
    """

    def __init__(
        self,
        count: int,
        begin: Callable[[Sequence[int]], Group],
        stages: Sequence[Stage],
        slots: int,
        until: Until | None,
    ) -> None:
        self.slots, self.until, self._begin = slots, until, begin
        self._queues = [_Queue(stage, range(0 if i else count)) for i, stage in enumerate(stages)]
        self._current = self._queues[0]
        self._done: list[Group] = []
        self.at_work: list[Group] = []

    def due(self) -> tuple[Size, Sequence[Group]] | None:
        """The size of the next stage and the groups that take a step in it; call ``release`` after the step."""
        filled = [queue for queue in self._queues if queue.count]
        if not filled:
            return None
        full = [queue for queue in filled if queue.count >= self.slots]
        queue = self._current = full[-1] if full else filled[0]
        free = self.slots - sum(map(len, queue.active))
        while free > 0 and (queue.waiting or queue.unmade):
            if queue.waiting:
                group = queue.waiting.pop(0)
            else:
                group, queue.unmade = self._begin(queue.unmade[:free]), queue.unmade[free:]
            if len(group) > free:
                queue.waiting.insert(0, group.take(range(free, len(group))))
                group = group.take(range(free))
            if group.optimiser is None:
                group.enter(queue.stage.size)
            queue.active.append(group)
            free -= len(group)
        self.at_work = list(queue.active)
        return queue.stage.size, self.at_work

    def release(self) -> None:
        """After a step, move the pictures that have finished their stage to the next one."""
        queue, stay = self._current, []
        further = self._queues[self._queues.index(queue) + 1 :]
        for group in queue.active:
            leaving = group.leaving(queue.stage, self.until)
            left = [i for i in range(len(group)) if i not in leaving]
            if leaving:
                gone = group.take(leaving)
                gone.optimiser = None
                (further[0].waiting if further else self._done).append(gone)
            if left:
                stay.append(group.take(left))
        queue.active = stay

    def shrink(self) -> bool:
        """Halve the number of slots because memory ran out; returns False if only one picture is left."""
        count = sum(map(len, self.at_work))
        if count < 2:
            return False
        self.slots = math.ceil(count / 2)
        queue = self._current
        queue.waiting, queue.active = queue.active + queue.waiting, []
        return True

    def collect(self) -> list[Group]:
        """The groups that have finished since the last call."""
        done, self._done = self._done, []
        return done


def joined(groups: Sequence[Group]) -> tuple[list[int], Param, Tensor, dict[int, Tensor]]:
    """All pictures of several groups in the order of their numbers: numbers, parameterisation, history and frames.

    The history ``[steps, N]`` is NaN after the last step of a picture.
    """
    pictures = [picture for group in groups for picture in group.pictures]
    order = sorted(range(len(pictures)), key=pictures.__getitem__)
    steps = max(len(group.history) for group in groups)
    history = torch.full((steps, len(pictures)), math.nan, dtype=torch.float32, device="cpu")
    for group, part in zip(groups, history.split([len(group) for group in groups], 1), strict=True):
        if group.history:
            part[: len(group.history)] = torch.stack(group.history)
    kept = set.intersection(*(set(group.frames) for group in groups))
    frames = {step: torch.cat([group.frames[step] for group in groups])[order] for step in sorted(kept)}
    param = Param.join([group.param for group in groups]).take(order)
    return sorted(pictures), param, history[:, order], frames
