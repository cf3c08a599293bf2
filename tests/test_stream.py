"""Results as they come: the pictures of ``stream`` are those of ``vis``, early, one each, and no more than are due."""

from __future__ import annotations

import gc
import itertools
import signal
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from small_networks import CountingTiny, random_states, seeded, snapshot
from torch import Tensor

from optvis import CPPNParam, ImageParam, OptVis, Visualisation
from optvis.scheduler import Group, Scheduler

STAGES = [(16, 6), (24, 4)]


def own_pace(picture: int, scores: Sequence[float]) -> bool:
    """Pictures 0, 3, 6 leave a stage after one check, 1, 4 after two, 2, 5 after three."""
    return len(scores) > picture % 3


@pytest.fixture
def network() -> CountingTiny:
    return seeded(CountingTiny)


def check_same(streamed: Sequence[Visualisation], whole: Visualisation, bits_of_scores: bool = True) -> None:
    """``bits_of_scores``: whether pictures are scored in the same batches."""
    assert sorted(result.pictures[0] for result in streamed) == whole.pictures
    for result in streamed:
        (picture,) = result.pictures
        steps = len(result.history)
        assert len(result) == 1 and not result.interrupted
        assert torch.equal(result.images[0], whole.images[picture])
        expected = whole.scores[picture : picture + 1]
        assert torch.equal(result.scores, expected) or not bits_of_scores
        assert torch.allclose(result.scores, expected, rtol=1e-4)
        assert torch.equal(result.history[:, 0], whole.history[:steps, picture])
        assert whole.history[steps:, picture].isnan().all()
        assert result.labels == whole.labels[picture : picture + 1]
        about = {"pictures", "labels", "steps", "objective"}
        assert {k: v for k, v in result.settings.items() if k not in about} == {
            k: v for k, v in whole.settings.items() if k not in about
        }


@pytest.mark.parametrize("batch", [1, 2, 3, 7, None])
def test_the_pictures_are_those_of_vis_in_order(network: CountingTiny, batch: int | None) -> None:
    optvis = OptVis.from_layer(network, "second", range(7))
    options: dict[str, Any] = {"stages": STAGES, "batch": batch, "seed": 3}
    streamed = list(optvis.stream(**options))
    assert [result.pictures for result in streamed] == [[i] for i in range(7)]
    check_same(streamed, optvis.vis(**options))


@pytest.mark.parametrize("batch", [2, 3])
def test_with_until_too(network: CountingTiny, batch: int) -> None:
    optvis, start = OptVis.from_layer(network, "second", range(7)), ImageParam(24, 7, seed=[0] * 7)
    options: dict[str, Any] = {"stages": [(16, 64), (24, 64)], "batch": batch, "until": own_pace}
    streamed = list(optvis.stream(start, **options))
    assert [result.pictures[0] for result in streamed] != list(range(7)), "those that finish early come early"
    check_same(streamed, optvis.vis(start, **options), bits_of_scores=False)


@pytest.mark.parametrize("make", [ImageParam, CPPNParam])
def test_a_parameterisation_and_frames_go_with_their_pictures(network: CountingTiny, make: Any) -> None:
    start = make(24, 4)
    optvis = OptVis.from_layer(network, "second", 1)
    options: dict[str, Any] = {"stages": STAGES, "batch": 2, "thresh": (2, 8)}
    whole, streamed = optvis.vis(start, **options), list(optvis.stream(start, **options))
    check_same(streamed, whole)
    for i, result in enumerate(streamed):
        assert list(result.frames) == [2, 8]
        assert all(torch.equal(result.frames[step], whole.frames[step][i : i + 1]) for step in result.frames)


def test_labels_and_numbers_are_of_one_picture(network: CountingTiny) -> None:
    results = list(OptVis.from_layer(network, "second", [5, 2]).stream(stages=STAGES))
    assert [result.labels for result in results] == [("second:5",), ("second:2",)]
    assert [result.settings["pictures"] for result in results] == [[0], [1]]


def test_the_first_result_comes_after_a_small_share_of_the_work(network: CountingTiny) -> None:
    optvis = OptVis.from_layer(network, "second", [i % 8 for i in range(40)])
    optvis.shapes()  # so that the looks at the network beforehand are done
    network.seen.clear()
    at = []
    for _ in optvis.stream(stages=[(16, 20), (24, 10)], batch=2):
        at.append(sum(network.seen))
    assert len(at) == 40 and at[0] < at[-1] / 18
    assert max(b - a for a, b in itertools.pairwise(at)) < at[-1] / 18, "and so do all that follow"


@pytest.mark.parametrize(("batch", "until"), [(2, None), (4, None), (3, own_pace)])
def test_pictures_are_made_when_they_are_due(
    network: CountingTiny, batch: int, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    counts: list[int] = []
    made = Group.__init__

    def noted(group: Group, *args: Any, **options: Any) -> None:
        made(group, *args, **options)
        alive.add(group.param)
        counts.append(sum(param.batch for param in alive))

    monkeypatch.setattr(Group, "__init__", noted)
    gc.collect()
    stages = [(16, 24), (24, 24)] if until else STAGES
    optvis = OptVis.from_layer(network, "second", [i % 8 for i in range(24)])
    results = optvis.stream(stages=stages, batch=batch, until=until)
    assert sum(len(result) for result in results) == 24
    assert len(counts) >= 24 // batch and max(counts) <= 4 * batch


@pytest.mark.parametrize("until", [None, own_pace])
def test_no_more_wait_than_two_batches(network: CountingTiny, until: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[int] = []
    due = Scheduler.due

    def watched(scheduler: Scheduler) -> Any:
        turn = due(scheduler)
        waiting.append(sum(len(group) for queue in scheduler._queues for group in (*queue.waiting, *queue.active)))
        return turn

    monkeypatch.setattr(Scheduler, "due", watched)
    stages = [(8, 24), (16, 24), (24, 24)] if until else [(8, 3), *STAGES]
    optvis = OptVis.from_layer(network, "second", [i % 8 for i in range(30)])
    assert len(list(optvis.stream(stages=stages, batch=3, until=until))) == 30
    assert max(waiting) <= 2 * 3 * (1 if until is None else len(stages))


def test_memory_does_not_grow_with_the_number_of_pictures(network: CountingTiny) -> None:
    def most(count: int) -> int:
        optvis, peak = OptVis.from_layer(network, "second", [i % 8 for i in range(count)]), 0
        gc.collect()
        gc.freeze()  # what there is already is not counted
        for result in optvis.stream(stages=[(16, 2)], batch=4):
            del result
            gc.collect()
            peak = max(peak, sum(thing.numel() for thing in gc.get_objects() if type(thing) is Tensor))
        gc.unfreeze()
        return peak

    few = most(16)
    assert 0 < most(64) < 1.2 * few


def test_an_abandoned_stream_leaves_nothing_behind(network: CountingTiny) -> None:
    def state() -> tuple[Any, ...]:
        return snapshot(network), random_states(), torch.is_grad_enabled(), signal.getsignal(signal.SIGINT)

    before = state()
    optvis = OptVis.from_layer(network, "second", range(6))
    stream = optvis.stream(stages=STAGES, batch=2)
    first = next(stream)
    passes = len(network.seen)
    assert (torch.is_grad_enabled(), signal.getsignal(signal.SIGINT)) == before[2:], "not between two results, either"
    stream.close()
    assert len(network.seen) == passes
    network.seen.clear()
    assert (snapshot(network), random_states(), torch.is_grad_enabled(), signal.getsignal(signal.SIGINT))[1:] == before[
        1:
    ]
    assert torch.equal(first.images, next(optvis.stream(stages=STAGES, batch=2)).images)


def test_other_runs_may_go_on_between_two_results(network: CountingTiny) -> None:
    optvis = OptVis.from_layer(network, "second", range(4))
    alone = [result.images for result in optvis.stream(stages=STAGES, batch=2)]
    one, other = optvis.stream(stages=STAGES, batch=2), optvis.stream(stages=STAGES, batch=2)
    for expected in alone:
        assert torch.equal(next(one).images, expected)
        assert torch.equal(next(other).images, expected)


def test_arguments_are_checked_before_the_first_step(network: CountingTiny) -> None:
    optvis = OptVis.from_layer(network, "second", range(4))
    with pytest.raises(ValueError, match="batch 0"):
        next(optvis.stream(batch=0))
    with pytest.raises(TypeError):
        next(optvis.stream(stepz=3))
    assert not network.seen


def interrupting(at: int) -> Any:
    """A transform that is struck by Ctrl-C in its call of this number."""
    calls: list[int] = []

    def strike(image: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == at:
            signal.raise_signal(signal.SIGINT)
        return image

    return strike


@pytest.mark.parametrize(("at", "finished"), [(1, 0), (9, 0), (10, 2), (11, 2), (20, 4), (30, 6)])
def test_ctrl_c_gives_what_is_finished_and_then_is_raised(network: CountingTiny, at: int, finished: int) -> None:
    handler = signal.getsignal(signal.SIGINT)
    optvis = OptVis.from_layer(network, "second", range(6), transforms=[interrupting(at)])
    results: list[Visualisation] = []
    with pytest.raises(KeyboardInterrupt):
        results.extend(optvis.stream(stages=STAGES, batch=2))
    assert [result.pictures for result in results] == [[i] for i in range(finished)]
    assert signal.getsignal(signal.SIGINT) is handler
    plain = OptVis.from_layer(network, "second", range(6), transforms=[lambda image: image])
    for result, expected in zip(results, plain.stream(stages=STAGES, batch=2), strict=False):
        assert torch.equal(result.images, expected.images)
