"""From coarse to fine: sizes, steps, and the steps at which frames are kept."""

from collections.abc import Callable
from typing import Any

import pytest

from optvis.stages import (
    COARSE_STEPS,
    FINE_STEPS,
    Stage,
    cut,
    default_stages,
    plan_stages,
    plan_thresh,
    stretch,
)

Size = tuple[int, int]


def sizes(stages: list[Stage]) -> list[Size]:
    return [stage.size for stage in stages]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((224, 224), [((56, 56), 24), ((112, 112), 48), ((224, 224), 12)]),
        ((64, 64), [((48, 48), 168), ((64, 64), 21)]),
        ((96, 96), [((48, 48), 168), ((96, 96), 14)]),
        ((60, 90), [((48, 72), 112), ((60, 90), 15)]),
        ((160, 160), [((80, 80), 101), ((160, 160), 12)]),
        ((162, 162), [((81, 81), 100), ((162, 162), 12)]),  # half of 81 is less than 48
        ((192, 192), [((48, 48), 28), ((96, 96), 56), ((192, 192), 12)]),
        ((299, 299), [((75, 75), 24), ((150, 150), 48), ((299, 299), 12)]),
        ((258, 100), [((129, 50), 72), ((258, 100), 12)]),
        ((512, 512), [((64, 64), 24), ((128, 128), 48), ((256, 256), 12), ((512, 512), 12)]),
        ((1024, 200), [((256, 50), 72), ((512, 100), 12), ((1024, 200), 12)]),
    ],
)
def test_a_picture_is_halved_until_it_is_coarse(size: Size, expected: list[tuple[Size, int]]) -> None:
    assert default_stages(size, keeps_size=False, works_at=lambda size: True) == tuple(
        Stage(*stage) for stage in expected
    )


@pytest.mark.parametrize(
    ("least", "expected"),
    [
        (1, [(64, 64), (128, 128), (256, 256), (512, 512)]),
        (65, [(128, 128), (256, 256), (512, 512)]),
        (129, [(256, 256), (512, 512)]),
        (257, [(512, 512)]),
    ],
)
def test_sizes_at_which_the_network_does_not_run_are_left_out(least: int, expected: list[Size]) -> None:
    asked: list[Size] = []

    def works_at(size: Size) -> bool:
        asked.append(size)
        return min(size) >= least

    stages = default_stages((512, 512), False, works_at)
    assert sizes(stages) == expected
    assert len(asked) == len(set(asked)), "a forward pass each: asked but once"
    fine = 2 if least == 1 else len(expected) - 1
    assert sum(stage.steps for stage in stages) == COARSE_STEPS + FINE_STEPS * max(fine, 1)


@pytest.mark.parametrize(
    ("size", "steps"), [((48, 48), 196), ((33, 33), 252), ((48, 80), 118), ((1024, 40), 84), ((1, 1), 252)]
)
def test_a_small_picture_has_one_stage(size: Size, steps: int) -> None:
    assert default_stages(size, False, lambda size: True) == (Stage(size, steps),)


def test_a_photograph_keeps_its_size() -> None:
    def never(size: Size) -> bool:
        raise AssertionError("not to be asked")

    assert default_stages((300, 400), True, never) == (Stage((300, 400), COARSE_STEPS + FINE_STEPS),)


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([(112, 192), (224, 32)], [Stage((112, 112), 192), Stage((224, 224), 32)]),
        ([((24, 40), 5)], [Stage((24, 40), 5)]),
        (([[24, 40], 5],), [Stage((24, 40), 5)]),
        (iter([(8, 1)]), [Stage((8, 8), 1)]),
    ],
)
def test_stages_are_read(stages: Any, expected: list[Stage]) -> None:
    assert plan_stages(stages) == tuple(expected)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], r"stages is empty: give at least one, as in stages=\[\(224, 256\)\]"),
        ((224, 256), r"stage 224: give \(size, steps\)"),
        ([(224,)], r"stage \(224,\): give \(size, steps\)"),
        ([(224, 3, 4)], r"stage \(224, 3, 4\): give"),
        (224, r"stages 224: give a list of \(size, steps\)"),
        ("224", "stages '224': give a list"),
        ([(224, 0)], r"stage \(224, 0\): the number of steps must be whole and at least 1"),
        ([(224, 1.5)], "the number of steps must be whole"),
        ([(224, True)], "the number of steps must be whole"),
        ([(0, 5)], "size 0: give a number of pixels"),
        ([((8, -1), 5)], r"size \(8, -1\): give a number of pixels"),
        ([(1.5, 5)], "size 1.5: give a number of pixels"),
    ],
)
def test_stages_that_are_none_are_errors(stages: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_stages(stages)


@pytest.mark.parametrize(
    ("thresh", "steps"),
    [
        (5, (5,)),
        ((128, 512), (128, 512)),
        ([512, 128, 128], (128, 512)),
        (range(1, 4), (1, 2, 3)),
        (iter([2, 1]), (1, 2)),
    ],
)
def test_thresh_is_read(thresh: Any, steps: tuple[int, ...]) -> None:
    assert plan_thresh(thresh) == steps


@pytest.mark.parametrize(
    ("thresh", "message"),
    [
        (0, "thresh 0: give whole numbers of at least 1"),
        (-4, "thresh -4"),
        ((3, 0), "thresh 0"),
        ((3, 2.5), "thresh 2.5: give whole numbers of at least 1"),
        (2.5, "thresh 2.5: give whole numbers of at least 1"),
        (True, "thresh True"),
        ("12", "thresh '12'"),
        ((), r"thresh is empty: give at least one step, as in thresh=\(128, 512\)"),
    ],
)
def test_a_thresh_that_is_none_is_an_error(thresh: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_thresh(thresh)


DEFAULT = [Stage((112, 112), 192), Stage((224, 224), 32)]
THREE = [Stage((8, 8), 10), Stage((16, 16), 10), Stage((32, 32), 1)]


@pytest.mark.parametrize(
    ("stages", "steps", "lengths"),
    [
        (DEFAULT, 224, [192, 32]),
        (DEFAULT, 448, [384, 64]),
        (DEFAULT, 112, [96, 16]),
        (DEFAULT, 7, [6, 1]),
        (DEFAULT, 3, [2, 1]),
        (DEFAULT, 2, [1, 1]),
        (DEFAULT, 1, [1]),
        (THREE, 42, [20, 20, 2]),
        (THREE, 3, [1, 1, 1]),
        (THREE, 2, [1, 1]),
    ],
)
def test_stages_are_stretched(stages: list[Stage], steps: int, lengths: list[int]) -> None:
    stretched = stretch(stages, steps)
    assert [stage.steps for stage in stretched] == lengths
    assert stretched[-1].size == stages[-1].size, "the picture always ends at its full size"


@pytest.mark.parametrize("change", [stretch, cut])
@pytest.mark.parametrize("stages", [DEFAULT, THREE], ids=["two", "three"])
def test_the_steps_are_as_many_as_asked_for(
    change: Callable[[list[Stage], int], list[Stage]], stages: list[Stage]
) -> None:
    total = sum(stage.steps for stage in stages)
    for steps in range(1, total + 1):
        changed = change(stages, steps)
        assert sum(stage.steps for stage in changed) == steps
        assert all(stage.steps >= 1 for stage in changed)
        order = [sizes(stages).index(size) for size in sizes(changed)]
        assert order == sorted(set(order))


@pytest.mark.parametrize(
    ("steps", "lengths"), [(224, [192, 32]), (200, [192, 8]), (193, [192, 1]), (192, [192]), (1, [1])]
)
def test_stages_are_cut(steps: int, lengths: list[int]) -> None:
    kept = cut(DEFAULT, steps)
    assert [stage.steps for stage in kept] == lengths
    assert sizes(kept) == sizes(DEFAULT)[: len(lengths)]


def test_stages_cannot_be_cut_behind_their_end() -> None:
    with pytest.raises(ValueError, match="thresh 225 is beyond the last of the stages' 224 steps"):
        cut(DEFAULT, 225)
