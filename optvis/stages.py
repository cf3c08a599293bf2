"""Stages from coarse to fine: the sizes at which a picture is optimised, and the number of steps at each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .checks import MOST, Size, as_list, as_size, is_list, shown, whole

COARSE_STEPS, FINE_STEPS = 72, 12
COARSEST = 80
"""A picture is halved until its larger side has at most this number of pixels (at least once)."""
LEAST = 48
"""The smallest side of a coarse stage: networks for smaller pictures were trained at their own size."""


@dataclass(frozen=True)
class Stage:
    """A number of ``steps`` at ``size`` (height, width) in pixels."""

    size: Size
    steps: int


def default_stages(size: Size, keeps_size: bool, works_at: Callable[[Size], bool]) -> list[Stage]:
    """The default stages for a picture of ``size``.

    Coarse stages run at half the size, a quarter and so on. They decide the composition: at small sizes, single whole
    objects arise, and a step is cheap. If there are several coarse stages, and the first has at most ``COARSEST``
    pixels a side, it takes one third of the coarse steps and the second two thirds.

    Args:
        size: (height, width) of the finished picture.
        keeps_size: True for a photograph, or a network that takes only one size: there is no coarse stage.
        works_at: True for a size at which the network runs up to the objective's layers; other sizes are left out.
    """
    sizes: list[Size] = []
    most = min(size) / LEAST
    factor = min(2.0, most)
    while not keeps_size and 1 < factor <= most:
        coarse = (round(size[0] / factor), round(size[1] / factor))
        if not works_at(coarse):
            break
        sizes.insert(0, coarse)
        if max(coarse) <= COARSEST:
            break
        factor *= 2
    if not sizes:
        return [Stage(size, _steps(COARSE_STEPS + FINE_STEPS, size))]
    shared = 1 if len(sizes) > 1 and max(sizes[0]) <= COARSEST else 0
    steps = _steps(COARSE_STEPS, sizes[shared])
    lengths = [steps // 3, steps - steps // 3] if shared else [steps]
    lengths += [_steps(FINE_STEPS, finer) for finer in (*sizes, size)[len(lengths) :]]
    return [Stage(*stage) for stage in zip([*sizes, size], lengths, strict=True)]


def _steps(number: int, size: Size) -> int:
    """A number of steps, multiplied by up to 3 for sizes below 112 px, at which steps are cheap."""
    return round(number * min(max(1, 112 / max(size)), 3))


def plan_stages(stages: Iterable[Any]) -> list[Stage]:
    """Stages from the user's list, ``[(112, 64), ((120, 224), 16)]``.

    Raises:
        ValueError: an item that is not a pair of a size and a positive whole number of steps.
    """
    planned = []
    for stage in as_list("stages", stages, "a list of (size, steps), as in stages=[(112, 64), (224, 16)]"):
        if isinstance(stage, Stage):
            planned.append(stage)
            continue
        try:
            size, steps = stage
        except (TypeError, ValueError):
            raise ValueError(f"stage {shown(stage)}: give (size, steps), as in stages=[(112, 64), (224, 16)]") from None
        count = whole(steps)
        if count is None or not 1 <= count <= MOST:
            raise ValueError(
                f"stage {shown(stage)}: the number of steps must be whole and at least 1, at most {MOST:,}"
            )
        planned.append(Stage(as_size(size), count))
    if not planned:
        raise ValueError("stages is empty: give at least one, as in stages=[(224, 256)]")
    return planned


def plan_thresh(thresh: int | Iterable[int] | None) -> tuple[int, ...]:
    """The steps at which frames are kept, in order.

    Raises:
        ValueError: no step, or one that is not a whole number of at least 1.
    """
    if thresh is None:
        return ()
    listed = as_list("thresh", thresh, "a step, or a list of steps") if is_list(thresh) else [thresh]
    if not listed:
        raise ValueError("thresh is empty: give at least one step, as in thresh=(128, 512)")
    steps = set()
    for step in listed:
        number = whole(step)
        if number is None or not 1 <= number <= MOST:
            raise ValueError(
                f"thresh {shown(step)}: give whole numbers of at least 1, as steps count from 1, up to {MOST:,}"
            )
        steps.add(number)
    return tuple(sorted(steps))


def stretch(stages: Sequence[Stage], steps: int) -> list[Stage]:
    """The same stages with another total number of steps, in proportion; the last stage keeps at least one step."""
    total = sum(stage.steps for stage in stages)
    ends, done = [], 0
    for stage in stages:
        done += stage.steps
        ends.append(round(done * steps / total))
    ends[:-1] = [min(end, steps - 1) for end in ends[:-1]]
    lengths = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return [Stage(stage.size, length) for stage, length in zip(stages, lengths, strict=True) if length > 0]


def cut(stages: Sequence[Stage], steps: int) -> list[Stage]:
    """The same stages up to a step.

    Raises:
        ValueError: the stages have fewer steps.
    """
    total = sum(stage.steps for stage in stages)
    if steps > total:
        raise ValueError(
            f"thresh {steps} is beyond the last of the stages' {total} steps: give more steps or a smaller thresh"
        )
    kept: list[Stage] = []
    for stage in stages:
        left = steps - sum(s.steps for s in kept)
        if left > 0:
            kept.append(Stage(stage.size, min(stage.steps, left)))
    return kept
