"""Many pictures, few places in the network: who is at work, who waits, who is done."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from .params import Param
from .rng import Rng
from .stages import Stage

CHECK = 4
"""After so many steps it is asked whether a picture may leave."""
PATIENCE = 16
"""So many steps that bring nothing make a plateau."""

Until = Callable[[int, Sequence[float]], bool]
"""From a picture's number and its scores under unseen transforms so far, whether it is good enough for its stage."""


def plateau(picture: int, scores: Sequence[float]) -> bool:
    """Whether the last ``PATIENCE`` steps brought less than 2 %."""
    last = PATIENCE // CHECK
    if len(scores) <= last:
        return False
    before = max(scores[:-last])
    return max(scores[-last:]) - before <= 0.02 * abs(before)


class Group:
    """Pictures that entered a stage together.

    Attributes:
        pictures: their numbers.
        param: what is optimised.
        draws: their random numbers.
        optimiser: of the stage at hand; ``None`` while they wait for it.
        age: steps in this stage.
        history: ``[k]`` scores of each step, of all stages.
        frames: ``{step: [k, C, H, W]}``.
        unseen: ``[k]`` scores under unseen transforms, of each check in this stage.
        silent: whether some picture may be silent, so that shut ReLUs let gradients through.
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

    def enter(self, size: tuple[int, int], optimiser: Callable[[Param], torch.optim.Optimizer]) -> None:
        """Begin a stage."""
        if self.param.size != size:
            self.param = self.param.grow(size)
        self.optimiser, self.age, self.unseen = optimiser(self.param), 0, []

    def leaving(self, stage: Stage, until: Until | None) -> list[int]:
        """Which are done with a stage, counted within the cohort."""
        if self.age >= stage.steps:
            return list(range(len(self)))
        if until is None or not self.unseen:
            return []
        scores = torch.stack(self.unseen, 1).tolist()
        return [i for i, picture in enumerate(self.pictures) if until(picture, scores[i])]

    def take(self, which: Sequence[int], optimiser: Callable[[Param], torch.optim.Optimizer]) -> Group:
        """Some of the pictures, with all that is theirs; ``which`` counts within the cohort."""
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
    """Give what an optimiser remembers of some pictures to another one; what belongs to all together is forgotten."""
    for a, b in zip(old_param.parameters(), new_param.parameters()):
        state = old.state.get(a, {})
        if all(isinstance(value, (Tensor, int, float)) for value in state.values()):
            new.state[b] = {
                key: value[which] if isinstance(value, Tensor) and value.shape == a.shape else copy.copy(value)
                for key, value in state.items()
            }


class _Queue:
    """Those that wait for a stage, and those at work in it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.waiting: list[Group] = []
        self.active: list[Group] = []

    @property
    def count(self) -> int:
        return sum(map(len, (*self.waiting, *self.active)))


class Scheduler:
    """Brings pictures through the stages, ``batch`` at once.

    A picture leaves a stage after the stage's steps, or as soon as ``until`` says so; its place goes to the next that
    waits. Work is done where a full batch is together, at the last such stage, so that pictures are finished early.

    Args:
        everyone: a cohort of all pictures, before the first stage.
        stages: sizes and most steps.
        batch: pictures at once.
        until: lets a picture leave a stage early; ``None`` for never.
        optimiser: makes one for a parameterisation.
    """

    def __init__(
        self,
        everyone: Group,
        stages: Sequence[Stage],
        batch: int,
        until: Until | None,
        optimiser: Callable[[Param], torch.optim.Optimizer],
    ) -> None:
        self.batch, self.until, self._optimiser = batch, until, optimiser
        self._queues = [_Queue(stage) for stage in stages]
        self._queues[0].waiting = [
            everyone.take(range(i, min(i + batch, len(everyone))), optimiser) for i in range(0, len(everyone), batch)
        ]
        self.done: list[Group] = []
        self.at_work: list[Group] = []

    def turns(self) -> Iterator[Stage]:
        """Again and again the stage at which the next step is due; ``at_work`` holds the cohorts that take it."""
        while True:
            queue = self._due()
            if queue is None:
                return
            self._fill(queue)
            self.at_work = list(queue.active)
            yield queue.stage
            self._let_go(queue)

    def shrink(self) -> bool:
        """Half as many at once from now on, for want of memory; says whether that could be done."""
        count = sum(map(len, self.at_work))
        if count < 2:
            return False
        self.batch = math.ceil(count / 2)
        queue = next(queue for queue in self._queues if queue.active == self.at_work)
        queue.waiting, queue.active = queue.active + queue.waiting, []
        return True

    def finished(self) -> list[Group]:
        """Those that are done; as long as there are none, those at work."""
        return self.done or self.at_work

    def _due(self) -> _Queue | None:
        filled = [queue for queue in self._queues if queue.count]
        full = [queue for queue in filled if queue.count >= self.batch]
        return full[-1] if full else filled[0] if filled else None

    def _fill(self, queue: _Queue) -> None:
        free = self.batch - sum(map(len, queue.active))
        while free > 0 and queue.waiting:
            first = queue.waiting.pop(0)
            if len(first) > free:
                queue.waiting.insert(0, first.take(range(free, len(first)), self._optimiser))
                first = first.take(range(free), self._optimiser)
            if first.optimiser is None:
                first.enter(queue.stage.size, self._optimiser)
            queue.active.append(first)
            free -= len(first)

    def _let_go(self, queue: _Queue) -> None:
        stage, stay = queue.stage, []
        for group in queue.active:
            leaving = group.leaving(stage, self.until)
            if leaving:
                gone = group.take(leaving, self._optimiser)
                gone.optimiser = None
                at = self._queues.index(queue) + 1
                (self.done if at == len(self._queues) else self._queues[at].waiting).append(gone)
            left = [i for i in range(len(group)) if i not in leaving]
            if left:
                stay.append(group.take(left, self._optimiser))
        queue.active = stay


def joined(groups: Sequence[Group]) -> tuple[list[int], Param, Tensor, dict[int, Tensor]]:
    """All pictures in the order of their numbers: these, one parameterisation, history and frames.

    The history ``[steps, N]`` is NaN where a picture had left already.
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


def out_of_memory(error: RuntimeError) -> bool:
    """Whether it says that memory ran out, on a GPU or here."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
