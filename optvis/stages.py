"""Stages from coarse to fine: the sizes at which a picture is optimised, and the number of steps at each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from .checks import MOST, Size, as_list, as_size, is_list, shown, whole

COARSE_STEPS, FINE_STEPS = 72, 12
COARSEST = 80
"""A picture is halved until its larger side has at most this number of pixels (at least once)."""
LEAST = 48
"""The smallest side of a coarse stage: networks for smaller pictures were trained at their own size."""


STEP_PIXELS = 128**2
"""The number of pixels that take as long as the part of a step that does not depend on size. Measured on a CPU."""


class Stage(NamedTuple):
    """A number of ``steps`` at ``size`` (height, width) in pixels."""

    size: Size
    steps: int


def default_stages(size: Size, keeps_size: bool, works_at: Callable[[Size], bool]) -> tuple[Stage, ...]:
    """The default stages for a picture of ``size``.

    Coarse stages run at half the size, a quarter and so on, as far as the network ``works_at`` these sizes. They decide
    the composition: at small sizes, single whole objects arise, and a step is cheap. If there are several coarse
    stages, and the first has at most ``COARSEST`` pixels a side, it takes one third of the coarse steps and the second
    two thirds. There is none for what ``keeps_size``: a photograph, or a network that takes only one size.
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
        return (Stage(size, _steps(COARSE_STEPS + FINE_STEPS, size)),)
    shared = 1 if len(sizes) > 1 and max(sizes[0]) <= COARSEST else 0
    steps = _steps(COARSE_STEPS, sizes[shared])
    lengths = [steps // 3, steps - steps // 3] if shared else [steps]
    lengths += [_steps(FINE_STEPS, finer) for finer in (*sizes, size)[len(lengths) :]]
    return tuple(map(Stage, [*sizes, size], lengths))


def _steps(number: int, size: Size) -> int:
    """A number of steps, multiplied by up to 3 for sizes below 112 px, at which steps are cheap."""
    return round(number * min(max(1, 112 / max(size)), 3))


def work(size: Size, pictures: int) -> int:
    """A measure of the time that a step of some pictures takes, in pixels."""
    return STEP_PIXELS + pictures * size[0] * size[1]


def plan_stages(stages: Iterable[Any]) -> tuple[Stage, ...]:
    """Stages from the user's list, ``[(112, 64), ((120, 224), 16)]``."""
    planned = []
    for stage in as_list("stages", stages, "a list of (size, steps), as in stages=[(112, 64), (224, 16)]"):
        try:
            size, steps = stage
        except (TypeError, ValueError):
            raise ValueError(f"stage {shown(stage)}: give (size, steps), as in stages=[(112, 64), (224, 16)]") from None
        count = whole(steps) or 0
        if not 1 <= count <= MOST:
            raise ValueError(f"stage {shown(stage)}: the number of steps must be whole and at least 1, up to {MOST:,}")
        planned.append(Stage(as_size(size), count))
    if not planned:
        raise ValueError("stages is empty: give at least one, as in stages=[(224, 256)]")
    return tuple(planned)


def plan_thresh(thresh: int | Iterable[int]) -> tuple[int, ...]:
    """The steps at which frames are kept, in order."""
    listed = as_list("thresh", thresh, "a step, or a list of steps") if is_list(thresh) else [thresh]
    if not listed:
        raise ValueError("thresh is empty: give at least one step, as in thresh=(128, 512)")
    steps = {whole(step) or 0: step for step in listed}
    for number, step in steps.items():
        if not 1 <= number <= MOST:
            raise ValueError(f"thresh {shown(step)}: give whole numbers of at least 1, up to {MOST:,}")
    return tuple(sorted(steps))


def stretch(stages: Sequence[Stage], steps: int) -> tuple[Stage, ...]:
    """The same stages with another total number of steps, in proportion; the last stage keeps at least one step."""
    ends = list(accumulate(stage.steps for stage in stages))
    return _ending(stages, [*(min(round(end * steps / ends[-1]), steps - 1) for end in ends[:-1]), steps])


def cut(stages: Sequence[Stage], steps: int) -> tuple[Stage, ...]:
    """The same stages up to a step; raises ``ValueError`` if they have fewer steps."""
    ends = list(accumulate(stage.steps for stage in stages))
    if steps > ends[-1]:
        raise ValueError(
            f"thresh {steps} is beyond the last of the stages' {ends[-1]} steps: give more steps or less thresh"
        )
    return _ending(stages, [min(end, steps) for end in ends])


def _ending(stages: Sequence[Stage], ends: Sequence[int]) -> tuple[Stage, ...]:
    """The stages that end at these steps, without those that have no step."""
    lengths = [end - start for start, end in pairwise([0, *ends])]
    return tuple(Stage(stage.size, length) for stage, length in zip(stages, lengths, strict=True) if length > 0)
