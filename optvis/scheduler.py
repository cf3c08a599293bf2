"""Continuous batching: many pictures share a few slots in the network; a finished picture frees its slot."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
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


class Group:
    """Pictures that entered a stage together, with their parameterisation, random numbers, optimiser and records.

    Attributes:
        pictures: their numbers.
        param: their parameterisation.
        rng: their random numbers.
        optimiser: of the current stage; ``None`` while they wait for it.
        age: number of steps in this stage.
        history: ``[k]`` scores of each step, over all stages.
        frames: ``{step: [k, C, H, W]}``.
        unseen: ``[k]`` scores under transforms that no step uses, at each check in this stage.
        silent: True while the gradient of some picture may be zero.
    """

    def __init__(self, pictures: Sequence[int], param: Param, rng: Rng) -> None:
        self.pictures, self.param, self.rng = list(pictures), param, rng
        self.optimiser: torch.optim.Optimizer | None = None
        self.age = 0
        self.history: list[Tensor] = []
        self.frames: dict[int, Tensor] = {}
        self.unseen: list[Tensor] = []
        self.silent = True

    def __len__(self) -> int:
        return len(self.pictures)

    def enter(self, size: Size, optimiser: Callable[[Param], torch.optim.Optimizer]) -> None:
        """Begin a stage."""
        if self.param.size != size:
            self.param = self.param.grow(size)
        self.optimiser, self.age, self.unseen = optimiser(self.param), 0, []

    def leaving(self, stage: Stage, until: Until | None) -> list[int]:
        """Positions within the group of the pictures that have finished a stage."""
        if self.age >= stage.steps:
            return list(range(len(self)))
        if until is None or not self.unseen:
            return []
        scores = torch.stack(self.unseen, 1).tolist()
        return [i for i, picture in enumerate(self.pictures) if until(picture, scores[i])]

    def take(self, which: Sequence[int], optimiser: Callable[[Param], torch.optim.Optimizer]) -> Group:
        """Some of the pictures, by their positions within the group."""
        if len(which) == len(self):
            return self
        which, taken = list(which), copy.copy(self)
        taken.pictures = [self.pictures[i] for i in which]
        taken.param, taken.rng = self.param.take(which), self.rng.take(which)
        taken.history = [scores[which] for scores in self.history]
        taken.frames = {step: images[which] for step, images in self.frames.items()}
        taken.unseen = [scores[which] for scores in self.unseen]
        if self.optimiser is not None:
            taken.optimiser = optimiser(taken.param)
            _hand_over(self.optimiser, self.param, taken.optimiser, taken.param, which)
        return taken


def _hand_over(
    old: torch.optim.Optimizer, old_param: Param, new: torch.optim.Optimizer, new_param: Param, which: list[int]
) -> None:
    """Copy one optimiser's state of some pictures to another; state that is not separate by picture is dropped."""
    for a, b in zip(old_param.parameters(), new_param.parameters(), strict=True):
        state = old.state.get(a, {})
        if all(isinstance(value, (Tensor, int, float)) for value in state.values()):
            new.state[b] = {
                key: value[which] if isinstance(value, Tensor) and value.shape == a.shape else copy.copy(value)
                for key, value in state.items()
            }


class Turn:
    """The pictures in the slots, which take steps together.

    Attributes:
        size: (height, width) of the pictures.
        groups: their groups.
        objective: their objective, bound to the layer shapes at this size.
        probed: the probe's results at this size.
        rng: their random numbers.
        scores: ``[N]``, of the last step.
    """

    def __init__(self, size: Size, groups: Sequence[Group], objective: Objective, probed: Probed, rng: Rng) -> None:
        self.size, self.groups, self.objective, self.probed, self.rng = size, groups, objective, probed, rng
        self.scores = torch.empty(0)

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

    def record(self, thresh: Sequence[int]) -> None:
        """Record the scores of a step, and keep frames at the steps of ``thresh``."""
        self.scores = self.scores.detach()
        if self.scores.device.type == "cpu" or any(group.age % CHECK == 0 for group in self.groups):
            self.check_finite()  # waits for a GPU, and so is not done in every step
        plain = not self.opens_relus
        for group, scores in zip(self.groups, self.scores.split([len(group) for group in self.groups]), strict=True):
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


class _Queue:
    """The groups that wait for a stage, and those that are active in it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.waiting: list[Group] = []
        self.active: list[Group] = []

    @property
    def count(self) -> int:
        """Number of pictures in all groups."""
        return sum(map(len, (*self.waiting, *self.active)))


class Scheduler:
    """Takes pictures through the stages, at most ``slots`` at once.

    A picture leaves a stage after the stage's steps, or as soon as ``until`` returns True, and the next one takes its
    slot. The last stage with a full batch goes first, so that pictures finish early. Pictures are created only when
    there is a slot for them, so that memory does not grow with their number.

    Args:
        count: number of pictures.
        begin: creates the group of some pictures, before the first stage.
        stages: sizes and numbers of steps.
        slots: number of pictures at once.
        until: lets a picture leave a stage early; ``None`` for never.
        optimiser: creates an optimiser for a parameterisation.
    """

    def __init__(
        self,
        count: int,
        begin: Callable[[Sequence[int]], Group],
        stages: Sequence[Stage],
        slots: int,
        until: Until | None,
        optimiser: Callable[[Param], torch.optim.Optimizer],
    ) -> None:
        self.slots, self.until, self._begin, self._optimiser = slots, until, begin, optimiser
        self._queues = [_Queue(stage) for stage in stages]
        self._current = self._queues[0]
        self._unmade = [range(i, min(i + slots, count)) for i in reversed(range(0, count, slots))]
        self._done: list[Group] = []
        self.at_work: list[Group] = []

    def turns(self) -> Iterator[tuple[Size, Sequence[Group]]]:
        """Yield the size of the next stage and the groups that take a step in it; call ``release`` after the step."""
        while True:
            queue = self._due()
            if queue is None:
                return
            self._fill(queue)
            self._current, self.at_work = queue, list(queue.active)
            yield queue.stage.size, self.at_work

    def release(self) -> None:
        """After a step, move the pictures that have finished their stage to the next one."""
        queue, stay = self._current, []
        for group in queue.active:
            leaving = group.leaving(queue.stage, self.until)
            if leaving:
                gone = group.take(leaving, self._optimiser)
                gone.optimiser = None
                at = self._queues.index(queue) + 1
                (self._done if at == len(self._queues) else self._queues[at].waiting).append(gone)
            left = [i for i in range(len(group)) if i not in leaving]
            if left:
                stay.append(group.take(left, self._optimiser))
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

    def _due(self) -> _Queue | None:
        filled = [queue for queue in self._queues if self._count(queue)]
        full = [queue for queue in filled if self._count(queue) >= self.slots]
        return full[-1] if full else filled[0] if filled else None

    def _count(self, queue: _Queue) -> int:
        unmade = sum(map(len, self._unmade)) if queue is self._queues[0] else 0
        return queue.count + unmade

    def _fill(self, queue: _Queue) -> None:
        free = self.slots - sum(map(len, queue.active))
        while free > 0:
            if not queue.waiting and self._unmade and queue is self._queues[0]:
                queue.waiting.append(self._begin(self._unmade.pop()))
            if not queue.waiting:
                return
            first = queue.waiting.pop(0)
            if len(first) > free:
                queue.waiting.insert(0, first.take(range(free, len(first)), self._optimiser))
                first = first.take(range(free), self._optimiser)
            if first.optimiser is None:
                first.enter(queue.stage.size, self._optimiser)
            queue.active.append(first)
            free -= len(first)


def joined(groups: Sequence[Group]) -> tuple[list[int], Param, Tensor, dict[int, Tensor]]:
    """All pictures of several groups in the order of their numbers: numbers, parameterisation, history and frames.

    The history ``[steps, N]`` is NaN after the last step of a picture.
    """
    pictures = [picture for group in groups for picture in group.pictures]
    order = sorted(range(len(pictures)), key=pictures.__getitem__)
    param = Param.join([group.param for group in groups])
    steps = max(len(group.history) for group in groups)
    history = torch.cat([_padded(group, steps) for group in groups], 1)
    kept = set.intersection(*(set(group.frames) for group in groups))
    frames = {step: torch.cat([group.frames[step] for group in groups])[order] for step in sorted(kept)}
    if order != sorted(order):
        param, history = param.take(order), history[:, order]
    return sorted(pictures), param, history, frames


def _padded(group: Group, steps: int) -> Tensor:
    if not group.history:
        return torch.full((steps, len(group)), math.nan)
    history = torch.stack(group.history).float().cpu()
    return torch.cat([history, history.new_full((steps - len(history), len(group)), math.nan)])
